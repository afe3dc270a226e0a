tree=/quiz/out/tree
python3 -m zipfile -e /quiz/in/wheel/wheel.zip "$tree"
cp /quiz/recipe/quiz_drgn.py "$tree"
# Nothing can be written beside it where it runs. Times of files are not their own, so what was compiled is taken as it is.
PYTHONHASHSEED=0 python3 -m compileall -q -s "$tree/" --invalidation-mode unchecked-hash "$tree"
# A wheel of another Python has a library that this one does not load.
PYTHONPATH="$tree" python3 -P -c 'import drgn, quiz_drgn; print(drgn.__version__)'
