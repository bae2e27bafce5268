# From network_data.json (with jflat.awk) to one line for each thing to do, keyed by MAC:
#
#   link MAC MTU
#   dhcp MAC
#   static MAC FAMILY ADDRESS PREFIX
#   route MAC FAMILY DESTINATION PREFIX GATEWAY
#   dns ADDRESS
#
# An IPv6 network without an address of its own configures itself by router advertisements.
BEGIN {
    ones[128] = 1; ones[192] = 2; ones[224] = 3; ones[240] = 4
    ones[248] = 5; ones[252] = 6; ones[254] = 7; ones[255] = 8
}

function emit(path, text,   part) {
    value[path] = text
    split(path, part, ".")
    if (part[1] == "links" && part[3] == "id") { link_at[text] = part[2]; links = part[2] + 1 }
    if (part[1] == "networks") networks = part[2] + 1
    if (part[1] == "services" && part[3] == "address") print "dns", text
}

END {
    for (l = 0; l < links; l++) print "link", mac_of(l), value["links." l ".mtu"] + 0
    for (l = 0; l < networks; l++) {
        at = "networks." l
        mac = mac_of(link_at[value[at ".link"]])
        family = value[at ".type"] ~ /^ipv6/ ? 6 : 4
        address = value[at ".ip_address"]
        mask = value[at ".netmask"]
        if (split(address, half, "/") == 2) { address = half[1]; mask = half[2] }
        if (address != "") print "static", mac, family, address, prefix_of(mask, family)
        else if (value[at ".type"] == "ipv4_dhcp") print "dhcp", mac
        for (r = 0; (at ".routes." r ".network") in value; r++) {
            route = at ".routes." r
            bits = prefix_of(value[route ".netmask"], family)
            print "route", mac, family, value[route ".network"], bits, value[route ".gateway"]
        }
    }
}

function mac_of(link) { return tolower(value["links." link ".ethernet_mac_address"]) }

# 24, 255.255.255.0 -> 24; 64, ffff:ffff:ffff:ffff:: -> 64
function prefix_of(mask, family,   bits, n, count, octet, digit) {
    if (mask ~ /^[0-9]+$/) return mask + 0
    if (family == 4) {
        count = split(mask, octet, ".")
        for (n = 1; n <= count; n++) bits += ones[octet[n] + 0]
    }
    else for (n = 1; n <= length(mask); n++) {
        digit = tolower(substr(mask, n, 1))
        bits += digit == "f" ? 4 : digit == "e" ? 3 : digit == "c" ? 2 : digit == "8" ? 1 : 0
    }
    return bits + 0
}
