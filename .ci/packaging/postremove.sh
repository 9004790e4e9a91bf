#!/bin/sh
# After the files have gone. Mail that waits, the configuration and the user who
# owns them stay: what is left is data, and removing it is for a person to decide.
set -e

case "$1" in
remove | purge | 0) ;;
*) exit 0 ;;
esac
rmdir /etc/dawk /var/spool/dawk/drop /var/spool/dawk /var/lib/dawk 2>/dev/null || true
rm -rf /run/dawk
if [ -d /run/systemd/system ]; then
	systemctl --system daemon-reload || true
fi
