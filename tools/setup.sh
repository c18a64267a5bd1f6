#!/bin/sh
# setup.sh LIST...: install what is missing of the Debian packages in these files, and make the user `netvane`.
#
# No service is started or enabled by that, and those that run already are left alone. With nothing missing it needs
# neither the network nor root.
set -eu

user=netvane
policy=/usr/sbin/policy-rc.d
mark='# Put here by tools/setup.sh of Netvane while apt runs.'

say() { echo "setup: $*"; }
is_installed() { [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
units() { find /lib/systemd/system/ /usr/lib/systemd/system/ -maxdepth 1 -name '*.*' -printf '%f\n' 2>/dev/null | sort -u; }

# An administrator's own policy stays; ours may be left over from a run that was killed.
place_policy() {
    if [ -e "$policy" ] || [ -L "$policy" ]; then
        grep -qsxF "$mark" "$policy" || return 0
    fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
    chmod 755 "$policy"
}
remove_policy() { if grep -qsxF "$mark" "$policy"; then rm -f "$policy"; fi; }

# Debian's packages enable their services as they are unpacked: those that were not there before are disabled again.
disable_new_units() {
    command -v systemctl >/dev/null || return 0
    units | comm -13 "$before" - | while read -r unit; do
        case "$(systemctl is-enabled "$unit" 2>/dev/null)" in
            enabled | enabled-runtime)
                systemctl --quiet disable "$unit" 2>/dev/null || say "$unit could not be disabled"
                say "$unit is installed, but not enabled"
                ;;
        esac
        # Only an administrator's own policy can have let it start.
        if systemctl --quiet is-active "$unit" 2>/dev/null; then systemctl stop "$unit"; fi
    done
}

finish() {
    status=$?
    disable_new_units
    remove_policy
    rm -f "$before"
    [ "$status" -eq 0 ] || say "not all of these packages could be installed; apt's reason stands above:$missing" >&2
}

install_packages() {
    exec 9>/run/lock/netvane-setup.lock
    flock 9
    before=$(mktemp)
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap finish EXIT
    units >"$before"
    place_policy
    # NEEDRESTART_SUSPEND: where needrestart(1) is installed, it would restart services.
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    apt-get -qq -o DPkg::Lock::Timeout=300 update || say "the package lists could not be updated; trying with the old ones"
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold install --yes --no-install-recommends --no-upgrade "$@"
}

missing=
for package in $(sed '/^#/d' "$@"); do
    is_installed "$package" || missing="$missing $package"
done
if [ "$(id -u)" -ne 0 ]; then
    if [ -n "$missing" ]; then
        say "Debian packages are missing: run \`sudo make setup\`, or: sudo apt-get install --no-install-recommends$missing" >&2
    fi
    exit 0
fi
if [ -n "$missing" ]; then
    say "installing$missing"
    # shellcheck disable=SC2086 # one word per package
    install_packages $missing
fi
if ! getent passwd "$user" >/dev/null; then
    useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin "$user"
    say "made the system user $user, which the parts run as"
fi
