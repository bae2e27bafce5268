#cloud-boothook
#!/bin/sh
# Each NIC carries its own traffic: what comes to the address of a NIC leaves by that NIC again, however many NICs there
# are on one subnet, whether their addresses came by DHCP or from a file, at boot or later. Every NIC has a routing table
# of its own, and every address a rule that leads to it.
mkdir -p /usr/local/sbin
cat > /usr/local/sbin/nic-routes <<'SCRIPT'
#!/bin/bash
# nic-routes [once]: bring rules and tables to what the NICs are, and (without `once`) keep them so.
GATEWAYS="@GATEWAYS@"
METADATA=169.254.169.254
FIRST=1000

# NICs of the machine; not the bridges and tunnels of its own.
nics() {
    [ -z "$NICS" ] || { echo "$NICS"; return; }
    for path in /sys/class/net/*/device; do
        [ -e "$path" ] && path=${path%/device} && echo "${path##*/}"
    done
}

# The number of a NIC's table, and of its rules: from the one the host gave it for life, else from the kernel's.
number() {
    for file in "/sys/class/net/$1/device/acpi_index" "/sys/class/net/$1/device/../acpi_index"; do
        [ -r "$file" ] && read -r index < "$file" && echo $((FIRST + index)) && return
    done
    read -r index < "/sys/class/net/$1/ifindex" && echo $((FIRST + 1000 + index))
}

# The routes of a NIC that need no gateway.
links() { # version, NIC, further words of `ip route show`
    ip "-$1" route show ${3:+match "$3"} dev "$2" table main 2>/dev/null | grep -Ev '^(default|multicast|ff00:)|via '
}

# A gateway that can be reached by a NIC: its own, or any that stands on one of its subnets.
gateway() { # version, NIC
    for way in $(ip "-$1" route show default dev "$2" | sed -n 's/.*via \([^ ]*\).*/\1/p') \
        $GATEWAYS $(ip "-$1" route show default | sed -n 's/.*via \([0-9][^ ]*\).*/\1/p'); do
        case $1:$way in 4:*:* | 6:*.*.*) continue ;; esac
        [ -n "$(links "$1" "$2" "$way")" ] && echo "$way" && return
    done
}

apply() {
    wanted=" "
    for version in 4 6; do
        for nic in $(nics); do
            addresses=$(ip "-$version" -o address show dev "$nic" scope global | awk '{ sub("/.*", "", $4); print $4 }')
            [ -n "$addresses" ] || continue
            table=$(number "$nic")
            links "$version" "$nic" | while read -r subnet _; do
                ip "-$version" route replace "$subnet" dev "$nic" table "$table"
            done
            way=$(gateway "$version" "$nic")
            [ -z "$way" ] || ip "-$version" route replace default via "$way" dev "$nic" table "$table"
            [ "$version" = 6 ] || ip route replace "$METADATA" dev "$nic" scope link table "$table"
            for address in $addresses; do
                wanted="$wanted$version,$table,$address "
                ip "-$version" rule show pref "$table" | grep -q "from $address lookup $table" ||
                    ip "-$version" rule add from "$address" lookup "$table" pref "$table"
            done
        done
        # Rules of addresses that are gone. None but ours have the number of their table.
        ip "-$version" rule show | while read -r pref _ address _ table _; do
            pref=${pref%:}
            [ "$pref" = "$table" ] && [ "$pref" -gt "$FIRST" ] || continue
            case $wanted in
                *" $version,$table,$address "*) ;;
                *) ip "-$version" rule delete pref "$pref" from "$address" ;;
            esac
        done
    done
    # Else metadata would be looked for behind a gateway, which need not exist.
    if [ -z "$(ip route show "$METADATA" table main)" ]; then
        for nic in $(nics); do
            [ -n "$(links 4 "$nic")" ] && ip route add "$METADATA" dev "$nic" scope link && break
        done
    fi
}

# A NIC answers for its own addresses only, and takes what is for it though other NICs lead to the sender as well.
sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.all.rp_filter=2
apply
[ "$1" = once ] && exit
# Changes come in bursts; one look after each burst will do.
ip -o monitor address link | while read -r _; do
    while read -r -t 1 _; do :; done
    apply
done
SCRIPT
chmod 755 /usr/local/sbin/nic-routes
/usr/local/sbin/nic-routes once
command -v systemctl > /dev/null || exit 0
cat > /etc/systemd/system/nic-routes.service <<'UNIT'
[Unit]
Description=One routing table per NIC
[Service]
ExecStartPre=-/bin/networkctl reload
ExecStart=/usr/local/sbin/nic-routes
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
# A NIC plugged into a running guest asks for its address by DHCP; files with lower numbers go first.
if systemctl -q is-active systemd-networkd; then
    cat > /etc/systemd/network/95-nic-dhcp.network <<'NETWORK'
[Match]
Driver=virtio_net
[Link]
RequiredForOnline=no
[Network]
DHCP=ipv4
[DHCPv4]
RouteMetric=2048
NETWORK
fi
systemctl daemon-reload
systemctl enable -q nic-routes.service
systemctl start --no-block nic-routes.service
