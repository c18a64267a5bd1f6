#!/bin/sh
# uninstall.sh [keep-data]: remove what /etc/netvane/deployed lists. Says what it does.
set -eu
keep=${1:-}
record=/etc/netvane/deployed
lines() { if [ -f "$record/$1" ]; then cat "$record/$1"; fi; }

for unit in /etc/systemd/system/netvane-* /etc/systemd/system/netvane.target; do
    if [ -e "$unit" ] || [ -L "$unit" ]; then
        name=$(basename "$unit")
        systemctl --quiet disable --now "$name" || echo "$name could not be stopped"
        rm -f "$unit"
    fi
done

# Marked as installed for others' sake, they go if nobody needs them: apt knows. Packages that others left behind stay.
packages=$(lines packages)
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086 # one word per package
    apt-mark auto $packages >/dev/null
    unneeded=$(apt-get --simulate -o APT::AutoRemove::SuggestsImportant=false autoremove | sed -n 's/^Remv \([^ ]*\) .*/\1/p')
    remove=
    for package in $packages; do
        if echo "$unneeded" | grep -qxF "$package"; then
            remove="$remove $package"
        else
            echo "$package stays: something else needs it"
        fi
    done
    if [ -n "$remove" ]; then
        echo "removing packages:$remove"
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get --quiet=2 --yes -o DPkg::Lock::Timeout=300 purge $remove >/dev/null
    fi
fi

paths=$(lines paths)
users=$(lines users)
echo "$paths" | while read -r path; do
    if [ -z "$path" ] || [ "$path" = /etc/netvane ]; then continue; fi
    if [ "$path" = /var/lib/netvane ] && [ -n "$keep" ]; then
        echo "kept $path"
        continue
    fi
    if [ -e "$path" ] || [ -L "$path" ]; then
        rm -rf "$path"
        echo "removed $path"
    fi
done
rm -rf /run/netvane
for user in $users; do
    if [ -z "$keep" ] && getent passwd "$user" >/dev/null; then
        userdel "$user"
        echo "removed the user $user"
    fi
done
# The record itself goes last, so that a run that broke off can be repeated.
if echo "$paths" | grep -qxF /etc/netvane; then
    rm -rf /etc/netvane
    echo "removed /etc/netvane"
else
    rm -rf "$record"
fi
systemctl daemon-reload
