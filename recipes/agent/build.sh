#!/bin/sh
# Compiles the guest's first process. Static: it runs before the root file system is complete.
set -eu
# The mount points are those that it needs before the other layers are there.
tree=/quiz/out/tree
mkdir -p "$tree/.quiz/rw" "$tree/.quiz/root" "$tree/dev" "$tree/proc" "$tree/sys"
gcc -std=gnu11 -Os -static -s -Wall -Wextra -Werror -o "$tree/.quiz/agent" /quiz/recipe/*.c
