# Lays out the work directory: what lies over the root of the guest.
set -eu

tree=/quiz/out/tree
mkdir -p "$tree/.quiz/init.d" "$tree/.quiz/wake.d" "$tree/usr"

# Debian's root has /lib as a link to usr/lib; a real /lib here would hide it. depmod looks under lib/modules or
# usr/lib/modules, as its distribution has it: the scratch folder offers both names for the one folder.
if [ -d /quiz/in/modules/lib/modules ]; then
    mkdir -p "$tree/usr/lib" base/usr
    for modules in /quiz/in/modules /quiz/in/added/*; do
        [ ! -d "$modules" ] || cp -R "$modules/lib/modules" "$tree/usr/lib/"
        chmod -R u+w "$tree/usr/lib/modules"
    done
    ln -s "$tree/usr/lib" base/lib
    ln -s "$tree/usr/lib" base/usr/lib
    for release in "$tree"/usr/lib/modules/*; do
        depmod -b /quiz/scratch/base "${release##*/}"
    done
fi

# In order of the profiles' names: what a later profile brings lies over what an earlier one brought.
for profile in /quiz/in/profiles/*; do
    [ -d "$profile" ] || continue
    if [ -d "$profile/files" ]; then
        cp -R "$profile/files/." "$tree/"
        chmod -R u+w "$tree"
    fi
    for hook in init wake; do
        if [ -f "$profile/$hook" ]; then
            cp "$profile/$hook" "$tree/.quiz/$hook.d/${profile##*/}"
            chmod 0755 "$tree/.quiz/$hook.d/${profile##*/}"
        fi
    done
done
