#!/bin/sh
# Before the files go. At an upgrade the relay runs on until it is restarted.
set -e

# Debian says "remove", rpm the number of packages that there will be.
case "$1" in
remove | deconfigure | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl --quiet disable --now dawk.service dawk.socket || true
fi
if [ -e /usr/lib/dawk/sendmail ] && command -v update-alternatives >/dev/null; then
	update-alternatives --remove mta /usr/lib/dawk/sendmail
fi
