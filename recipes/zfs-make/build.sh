# A recipe sees the files of its own folder alone.
cp /quiz/recipe/make.sh /quiz/out/script
