# What the guest does with its NICs; sourced by init, by the DHCP hook and by the commands.
#
# A NIC is known by its PCI device's acpi_index, which is its slot for life, and is renamed to eno<slot>, as a guest with
# udev would have it. $STATE/<name> holds what is done for it: index (of the interface), slot, dhcp (process id of its
# client), gateway4, gateway6, and how its routes are taken away. One reconciling function, `settle`, serves the NICs of
# the start and those that come and go later; only init calls it, and after the start only its process that watches.
#
# A process costs a guest without hardware acceleration more than a hundredth of a second, hence the builtins.

PLAN=/run/plan
STATE=/run/nics
WAKE=/run/wake
FIRST_TABLE=300  # the table of slot k, and the preference of its rules, is 300 + k; busybox knows tables up to 1023
METADATA=169.254.169.254 # on the link of every NIC
LOCAL_AFTER=2000 # where the kernel's own first rule, "what is mine is local", goes

# A frame from one NIC's address to another NIC's address has to leave the guest and come back in. So for what the guest
# itself sends (`iif lo`), the tables of the NICs are asked before the table of local addresses.
kernel_settings() {
    for each in default all; do
        echo 0 >/proc/sys/net/ipv4/conf/$each/rp_filter
        echo 1 >/proc/sys/net/ipv4/conf/$each/accept_local
        echo 1 >/proc/sys/net/ipv4/conf/$each/arp_ignore
        echo 2 >/proc/sys/net/ipv4/conf/$each/arp_announce
        echo 1 >/proc/sys/net/ipv6/conf/$each/optimistic_dad
        echo 1 >/proc/sys/net/ipv6/conf/$each/use_optimistic
    done
    for family in 4 6; do
        ip -$family rule add lookup local pref $LOCAL_AFTER
        ip -$family rule del pref 0
    done
    mkdir $STATE
    mkfifo $WAKE
}

# Read at the start, and again whenever a NIC comes later.
read_drive() {
    : >>$PLAN
    drive=$(findfs LABEL=config-2 2>/dev/null) || return 0
    mkdir -p /run/drive
    mount -o ro "$drive" /run/drive || return 0
    latest=/run/drive/openstack/latest
    if [ -f $latest/network_data.json ]; then
        awk -f /lib/jflat.awk -f /lib/plan.awk $latest/network_data.json >$PLAN
        while read -r what server _; do
            [ "$what" = dns ] && echo "nameserver $server"
        done <$PLAN >/etc/resolv.conf
    fi
    if [ -f $latest/meta_data.json ]; then
        awk -f /lib/jflat.awk -f /lib/hostname.awk $latest/meta_data.json >/proc/sys/kernel/hostname
    fi
    umount /run/drive
}

# Sets $index; empty where there is no such interface.
index_of() {
    index=
    [ -r "/sys/class/net/$1/ifindex" ] && read -r index <"/sys/class/net/$1/ifindex"
}

# Configure NICs that are there and not yet configured, drop what belonged to NICs that are gone.
settle() {
    for kept in "$STATE"/*; do
        [ -d "$kept" ] || continue
        read -r was <"$kept/index"
        index_of "${kept##*/}"
        [ "$index" = "$was" ] || drop "${kept##*/}"
    done
    for device in /sys/class/net/*/device; do
        name=${device%/device}
        name=${name##*/}
        [ "$name" = '*' ] || [ -d "$STATE/$name" ] || adopt "$name"
    done
    route_all
}

adopt() {
    name=$1 slot=
    [ -r "/sys/class/net/$name/device/../acpi_index" ] && read -r slot <"/sys/class/net/$name/device/../acpi_index"
    [ -z "$slot" ] || [ "$name" = "eno$slot" ] || { ip link set "$name" name "eno$slot" && name=eno$slot; }
    index_of "$name"
    read -r mac <"/sys/class/net/$name/address"
    mkdir "$STATE/$name"
    echo "$index" >"$STATE/$name/index"
    echo "${slot:-$index}" >"$STATE/$name/slot"
    [ -e /run/ready ] && { read_drive; echo "POLYPORT-GUEST-NIC-ADDED name=$name mac=$mac"; }
    configure "$name" "$mac"
}

configure() {
    known=
    while read -r what whose first second third fourth; do
        [ "$whose" = "$2" ] || continue
        known=yes
        case $what in
        link)
            [ "$first" = 0 ] && first=1500
            ip link set "$1" mtu "$first" up
            ;;
        dhcp) start_dhcp "$1" ;;
        static) ip -"$first" addr add "$second/$third" dev "$1" ;;
        route) add_route "$1" "$first" "$second/$third" "$fourth" ;;
        esac
    done <$PLAN
    [ -n "$known" ] && return
    ip link set "$1" up
    start_dhcp "$1"
}

# In the main table, for what the guest sends without saying from which address. A gateway of zeros is none.
add_route() {
    [ -n "$4" ] || return
    case $3 in
    0.0.0.0/0) echo "$4" >"$STATE/$1/gateway4" ;;
    ::/0) echo "$4" >"$STATE/$1/gateway6" ;;
    esac
    case $4 in
    0.0.0.0) ip -4 route add "$3" dev "$1" 2>/dev/null ;;
    *) ip -"$2" route add "$3" via "$4" dev "$1" 2>/dev/null ;;
    esac
}

start_dhcp() {
    read -r host </proc/sys/kernel/hostname
    udhcpc -f -i "$1" -s /lib/dhcp.sh -t 5 -T 1 -A 5 -O mtu -O staticroutes -x "hostname:$host" </dev/null >/dev/null 2>&1 &
    echo $! >"$STATE/$1/dhcp"
}

drop() {
    [ -f "$STATE/$1/dhcp" ] && read -r client <"$STATE/$1/dhcp" && kill "$client" 2>/dev/null
    forget_routes "$STATE/$1"
    rm -r "${STATE:?}/$1"
    echo "POLYPORT-GUEST-NIC-REMOVED name=$1"
}

# Written anew only for NICs whose addresses or gateways differ from what was routed last. Gateways are remembered when
# the NIC that told of them is gone: others on its subnet go by them too.
route_all() {
    gateways4=$(distinct $gateways4 $(cat "$STATE"/*/gateway4 2>/dev/null))
    gateways6=$(distinct $gateways6 $(cat "$STATE"/*/gateway6 2>/dev/null))
    ip -o addr show scope global | awk -f /lib/addresses.awk /proc/net/ipv6_route - >/run/addresses
    while read -r name fours sixes advertised; do
        kept=$STATE/$name routed=
        [ -d "$kept" ] || continue
        wanted="$fours $sixes $advertised $gateways4 $gateways6"
        [ -f "$kept/routed" ] && IFS= read -r routed <"$kept/routed"
        [ "$wanted" = "$routed" ] && continue
        forget_routes "$kept"
        route_one
        echo "$wanted" >"$kept/routed"
    done </run/addresses
    # The NIC that had the default route may be gone. Where there is one, the kernel refuses a second.
    for gateway in $gateways4; do ip -4 route add default via "$gateway" 2>/dev/null && break; done
    for gateway in $gateways6; do ip -6 route add default via "$gateway" 2>/dev/null && break; done
}

distinct() {
    seen=
    for word; do
        case " $seen " in *" $word "*) ;; *) seen="$seen $word" ;; esac
    done
    echo $seen
}

# One routing table for each NIC: what is sent from a NIC's address leaves by that NIC, also towards another NIC of this
# guest and also where two NICs are on one subnet.
route_one() {
    read -r slot <"$kept/slot"
    table=$((FIRST_TABLE + slot))
    fours=${fours#-} sixes=${sixes#-} advertised=${advertised#-}
    for address in ${fours//,/ }; do
        network_of "$address"
        ip_add 4 route "local ${address%/*} dev $name table $table"
        ip_add 4 route "$network dev $name src ${address%/*} table $table"
        ip_add 4 route "$METADATA dev $name src ${address%/*} table $table"
        ip_add 4 rule "from ${address%/*} iif lo lookup $table pref $table"
    done
    for address in ${sixes//,/ }; do
        ip_add 6 route "local ${address%/*} dev $name table $table"
        ip_add 6 route "$address dev $name table $table"
        ip_add 6 rule "from ${address%/*} iif lo lookup $table pref $table"
    done
    # The kernel refuses a gateway that is not in reach of this NIC, so the first that it takes is the right one.
    [ -z "$fours" ] || for gateway in $(cat "$kept/gateway4" 2>/dev/null) $gateways4; do
        ip_add 4 route "default via $gateway dev $name table $table" && break
    done
    [ -z "$sixes" ] || for gateway in ${advertised//,/ } $(cat "$kept/gateway6" 2>/dev/null) $gateways6; do
        ip_add 6 route "default via $gateway dev $name table $table" && break
    done
}

# ip_add FAMILY route|rule WORDS: add it, and note how it is taken away.
ip_add() {
    ip -"$1" "$2" add $3 2>/dev/null && echo "-$1 $2 del $3" >>"$kept/routes"
}

# 10.0.0.77/24 -> 10.0.0.0/24, in $network
network_of() {
    bits=${1#*/} left=${1%/*} number=0
    for octet in ${left//./ }; do number=$((number << 8 | octet)); done
    number=$((number & (0xffffffff << (32 - bits))))
    network=$((number >> 24 & 255)).$((number >> 16 & 255)).$((number >> 8 & 255)).$((number & 255))/$bits
}

forget_routes() {
    [ -f "$1/routes" ] || return 0
    while read -r line; do ip $line 2>/dev/null; done <"$1/routes"
    rm "$1/routes"
}

# NICs and IPv6 addresses come and go by themselves. NICs are looked for twice a second, without a process: one that is
# new bears the kernel's name for it, so names tell. IPv6 addresses are compared every fourth time. Who writes to $WAKE
# (the DHCP hook) has changed an address.
watch_nics() {
    exec 9<>$WAKE
    last_nics= last_addresses= look=0
    while :; do
        read -r -t 0.5 _ <&9
        woken=$?
        set -- /sys/class/net/*
        if [ "$*" != "$last_nics" ]; then
            last_nics=$*
            settle
        fi
        if [ $((look = (look + 1) % 4)) = 0 ]; then
            addresses=
            while read -r line; do addresses=$addresses$line,; done </proc/net/if_inet6
            [ "$addresses" = "$last_addresses" ] || woken=0
            last_addresses=$addresses
        fi
        [ $woken != 0 ] || route_all
    done
}
