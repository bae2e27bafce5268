#cloud-boothook
#!/bin/sh
# Each NIC carries its own traffic: what comes to the address of a NIC leaves by that NIC again, however many NICs there
# are on one subnet, whether their addresses came by DHCP or from a file, at boot or later. Every NIC has a routing table
# of its own, and every address a rule that leads to it.
mkdir -p /usr/local/sbin
cat > /usr/local/sbin/nic-routes <<'SCRIPT'
#!/bin/bash
# nic-routes [once]: bring rules and tables to what the NICs are, and (without `once`) keep them so.
# Few processes, however many NICs: a guest without hardware acceleration takes a tenth of a second for each.
GATEWAYS="@GATEWAYS@"
METADATA=169.254.169.254
FIRST=1000
declare -A addresses subnets ways

# NICs of the machine; not the bridges and tunnels of its own.
find_nics() {
    nics=$NICS
    [ -z "$nics" ] || return
    for path in /sys/class/net/*/device; do
        [ -e "$path" ] && path=${path%/device} && nics+="${path##*/} "
    done
}

# The number of a NIC's table, and of its rules: from the one the host gave it for life, else from the kernel's.
number() {
    for file in "/sys/class/net/$1/device/acpi_index" "/sys/class/net/$1/device/../acpi_index"; do
        [ -r "$file" ] && read -r index < "$file" && table=$((FIRST + index)) && return
    done
    read -r index < "/sys/class/net/$1/ifindex" && table=$((FIRST + 1000 + index))
}

# The next hop, the NIC and (none for the main one) the table in the words of a route.
parse() {
    way='' nic='' table=''
    while [ $# -gt 1 ]; do
        case $1 in via) way=$2 ;; dev) nic=$2 ;; table) table=$2 ;; esac
        shift
    done
}

# What there is of one version of IP: addresses, subnets and next hops of each NIC, and what of ours is there already.
look() {
    addresses=() subnets=() ways=() others=$GATEWAYS known='' reach=' ' rules=' ' routes=' '
    while read -r _ nic _ address _; do
        addresses[$nic]+="${address%/*} "
    done < <(ip "-$version" -o address show scope global)
    while read -r subnet words; do
        parse $words
        [ -z "$table" ] || { routes+="$table,$nic,$subnet,$way "; continue; }
        case $subnet in
            default)
                ways[$nic]+="$way "
                case $way in fe80:*) ;; *) others+=" $way" ;; esac
                ;;
            "$METADATA") known=yes ;;
            multicast | ff00:*) ;;
            *) [ -n "$way" ] || subnets[$nic]+="$subnet " ;;
        esac
    done < <(ip "-$version" -o route show table all)
    while read -r pref _ address _ table _; do
        # None but ours have the number of their table.
        [ "${pref%:}" = "$table" ] && [ "$table" -gt "$FIRST" ] && rules+="$table,$address "
    done < <(ip "-$version" rule show)
    # Which NICs stand on one subnet with a next hop.
    asked=' '
    for hop in ${ways[*]} $others; do
        case $version:$hop in 4:*:* | 6:*.*.*) continue ;; esac
        case $asked in *" $hop "*) continue ;; esac
        asked+="$hop "
        while read -r subnet words; do
            parse $words
            [ "$subnet" = default ] || [ -n "$way" ] || reach+="$hop,$nic "
        done < <(ip "-$version" -o route show match "$hop" table main)
    done
}

# A route in a table of ours that is not there yet.
route() { # destination, next hop
    case $routes in *" $table,$nic,$1,$2 "*) ;; *) echo "route replace $1 ${2:+via $2 }dev $nic table $table" ;; esac
}

# What is to be done, in the words of `ip -batch`; nothing where nothing is, as each change is an event.
changes() {
    wanted=' '
    for nic in $nics; do
        [ -n "${addresses[$nic]}" ] || continue
        number "$nic"
        for subnet in ${subnets[$nic]}; do
            route "$subnet"
        done
        for way in ${ways[$nic]} $others; do
            case $reach in *" $way,$nic "*) ;; *) continue ;; esac
            route default "$way"
            break
        done
        if [ "$version" = 4 ]; then
            route "$METADATA"
            # Else metadata would be looked for behind a gateway, which need not exist.
            [ -n "$known" ] || echo "route add $METADATA dev $nic scope link"
            known=yes
        fi
        for address in ${addresses[$nic]}; do
            wanted+="$table,$address "
            case $rules in *" $table,$address "*) ;; *) echo "rule add from $address lookup $table pref $table" ;; esac
        done
    done
    # Addresses that are gone.
    for rule in $rules; do
        case $wanted in *" $rule "*) ;; *) echo "rule delete pref ${rule%%,*} from ${rule#*,}" ;; esac
    done
}

apply() {
    find_nics
    for version in 4 6; do
        look
        changes | ip "-$version" -force -batch -
    done
}

# A NIC answers for its own addresses only, and takes what is for it though other NICs lead to the sender as well.
sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.all.rp_filter=2
apply
[ "$1" = once ] && exit
# Changes come in bursts; one look after each burst will do. Rules and routes are looked after, too: who configures the
# network (systemd-networkd when it reloads) takes away those it does not know.
# The first look is for what happened before anything was heard.
{ echo; ip -o monitor address link route rule; } | while read -r _; do
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
