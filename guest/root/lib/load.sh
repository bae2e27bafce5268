# load NAME: load the modules on a list of /lib/modules, one after another (loaded side by side, drivers number NICs by chance).
load() {
    while read -r module; do
        [ -d "/sys/module/$module" ] || insmod "/lib/modules/$module.ko"
    done <"/lib/modules/$1"
}
