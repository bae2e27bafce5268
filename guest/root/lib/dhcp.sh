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
    if [ -n "$router" ]; then
        echo "${router%% *}" >"$kept/gateway4"
        ip route add default via "${router%% *}" dev "$interface" 2>/dev/null
    fi
    for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
    ;;
esac
echo >$WAKE
