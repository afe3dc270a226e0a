#!/bin/sh
# Compiles the guest's first process. Static: it runs before the root file system is complete.
set -eu
gcc -std=gnu11 -Os -static -s -Wall -Wextra -Werror -o /quiz/out/agent /quiz/recipe/*.c
