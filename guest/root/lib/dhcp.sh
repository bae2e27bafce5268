#!/bin/sh
# Called by udhcpc with what the DHCP server answered. Routes are the work of the process that watches; it is woken.
. /lib/nics.sh
kept=$STATE/$interface
case $1 in
deconfig)
    ip -4 addr flush dev "$interface"
    rm -f "$kept/gateway4"
    ;;
bound | renew)
    [ -n "$mtu" ] && ip link set "$interface" mtu "$mtu"
    case $(ip -4 -o addr show dev "$interface") in
    *" $ip/$mask "*) ;;
    *)
        ip -4 addr flush dev "$interface"
        ip addr add "$ip/$mask" dev "$interface"
        ;;
    esac
    # Who is told these goes by them alone; they name the default route, too.
    set -- ${staticroutes:-${router:+0.0.0.0/0 ${router%% *}}}
    while [ $# -ge 2 ]; do
        add_route "$interface" 4 "$1" "$2"
        shift 2
    done
    for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
    ;;
esac
echo >$WAKE
