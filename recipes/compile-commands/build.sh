# One script for kernels and for the modules of others: a recipe sees the files of its own folder alone.
cp /quiz/recipe/list.pl /quiz/out/script
