# Runs autogen.sh, or what it runs where a source package has none. Only what it made is the result: what it read comes from the
# source itself.

mkdir tree
cp -R /quiz/src/. tree
chmod -R u+w tree
cd tree
if [ -e autogen.sh ]; then sh ./autogen.sh; else autoreconf -fi; fi >../autogen.log 2>&1 || {
    cat ../autogen.log
    exit 1
}
rm -rf autom4te.cache
find . -name '*~' -delete

mkdir /quiz/out/tree
find . -type f | while read -r file; do
    if ! cmp -s "$file" "/quiz/src/$file"; then
        mkdir -p "/quiz/out/tree/${file%/*}"
        cp "$file" "/quiz/out/tree/$file"
    fi
done

cp /quiz/recipe/lib.sh /quiz/out/lib
