#!/bin/sh
# own.sh packages NAME... | paths PATH... | user NAME: record what is about to come to this machine through Netvane.
#
# /etc/netvane/deployed/{packages,paths,users} have what was not there before, one per line; uninstall.yml removes that
# and nothing else. Written before the thing itself, so that a run that broke off half-way is known too. Prints what it
# has recorded now.
set -eu
umask 022
record=/etc/netvane/deployed

note() { # LIST: names on standard input that are not in it yet
    touch "$record/$1"
    grep -vxF -f "$record/$1" | tee -a "$record/$1" || [ $? -eq 1 ]
}

kind=$1
shift
new=
[ -e /etc/netvane ] || new=/etc/netvane
mkdir -p "$record"
if [ -n "$new" ]; then echo "$new" | note paths; fi
case $kind in
    packages) # with their dependencies: "Inst NAME (…)" is new, "Inst NAME [VERSION] (…)" an upgrade
        apt-get --simulate --quiet=2 --no-install-recommends install "$@" |
            sed -n 's/^Inst \([^ ]*\) (.*/\1/p' | note packages
        ;;
    paths)
        for path in "$@"; do
            if [ ! -e "$path" ] && [ ! -L "$path" ]; then echo "$path"; fi
        done | note paths
        ;;
    user)
        if ! getent passwd "$1" >/dev/null; then echo "$1" | note users; fi
        ;;
esac
