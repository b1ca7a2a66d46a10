# What the RayJob's driver does, on the head. In a file, since submitters quote an entrypoint's words: no variable in them
# would ever be filled in.
exec modelyard score "$SCORE_BUNDLE" "$SCORE_INPUT" "$SCORE_OUTPUT" --max-error-share "$SCORE_MAX_ERROR_SHARE" \
  --device "$SCORE_DEVICE" --metrics-port 9100 --runner ray --workers 4
