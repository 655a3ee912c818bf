# shellcheck shell=bash
# The names of places on a virtual host. Sourced there.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export BUILD=/run/build MNT=/mnt/ramstripe WORK=/tmp SLOW=1
