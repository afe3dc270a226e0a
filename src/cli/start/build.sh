# Makes the stage NAME, and starts in an empty folder, /quiz/scratch. When a line fails, so does the stage, and quiz shows what was written.
printf '%s\n' "$QUIZ_OPT_GREETING" >/quiz/out/out
