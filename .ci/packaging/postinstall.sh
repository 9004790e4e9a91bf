#!/bin/sh
# After the files are there, first or anew: the user, the directories, and a restart
# of a relay that runs.
set -e

# Debian says "configure", rpm the number of packages that there will be.
case "$1" in
configure | 1 | 2) ;;
*) exit 0 ;;
esac

if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers dawk.conf
elif ! getent passwd dawk >/dev/null; then
	getent group dawk >/dev/null || groupadd --system dawk
	useradd --system --gid dawk --home-dir /var/lib/dawk --no-create-home --shell /usr/sbin/nologin --comment 'dawk mail relay' dawk
fi
install -d -m 0750 -o root -g dawk /etc/dawk
install -d -m 0700 -o dawk -g dawk /var/lib/dawk
install -d -m 0755 -o dawk -g dawk /var/spool/dawk /run/dawk

# Where the system has several mail programs (rpm), dawk is one to choose.
if [ -e /usr/lib/dawk/sendmail ] && command -v update-alternatives >/dev/null; then
	update-alternatives --install /usr/sbin/sendmail mta /usr/lib/dawk/sendmail 50 \
		--slave /usr/bin/mailq mta-mailq /usr/lib/dawk/mailq \
		--slave /usr/bin/newaliases mta-newaliases /usr/lib/dawk/newaliases
fi

if [ -d /run/systemd/system ]; then
	systemctl --system daemon-reload || true
	# A relay that runs is replaced; one that was never set up is not started.
	if systemctl --quiet is-active dawk.service; then
		systemctl restart dawk.service || true
	fi
fi
if [ ! -e /etc/dawk/dawk.toml ]; then
	echo 'dawk is installed. Next: dawk config init; dawk check; systemctl enable --now dawk'
fi
