# How small does a text become, and by which compressor? Parameters are variables; no program here knows gridctl.
set -eu
out=${GRID_OUTPUT_DIR:-.}
seq 1 200000 | sed 's/7/seven/g' >"$out/text"
"$HP_TOOL" "-$HP_LEVEL" -c "$out/text" >"$out/packed"
before=$(wc -c <"$out/text")
after=$(wc -c <"$out/packed")
rm "$out/text" # only what is worth keeping stays
echo "ratio=$(awk "BEGIN { printf \"%.4f\", $before / $after }") bytes=$after"
