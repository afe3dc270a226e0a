# Builds the programs that `make unit` runs where they were built, and nothing installs: below /usr/share/zfs/unit.

. /quiz/in/lib

cd tree
if [ ! -e tests/unit/Makefile.am ]; then
    echo "error: OpenZFS $(sed -n 's/^Version: *//p' META) has no unit tests (there is no tests/unit)"
    exit 1
fi
make_gets_on

# shellcheck disable=SC2016 # of_make's variable, not the shell's
units="$(of_make '$(UNIT_TESTS)')"
# shellcheck disable=SC2086 # a list of names without blanks
from_make -s $units
mkdir -p /quiz/out/install/usr/share/zfs/unit
# shellcheck disable=SC2086
./libtool --silent --mode=install install -s -m 755 $units /quiz/out/install/usr/share/zfs/unit/
