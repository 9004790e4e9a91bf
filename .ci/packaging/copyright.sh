#!/bin/sh
# Writes to standard output who owns what is in the program, and under which licences:
# the file "copyright" of packages (Debian policy 12.5) and of the image. The texts are
# those in the folders of the modules that are linked, in the order of their names.
set -eu
cd "$(dirname "$0")/../.."

cat <<'END'
dawk, an outbound mail relay.

dawk itself: all rights reserved by its owner until a licence is chosen.

The program contains Go's standard library and the modules below, each under a
permissive licence of its own. The texts follow.
END

# texts NAME FOLDER: what the folder of a module says about its licence.
texts() {
	found=
	for file in "$2"/LICENSE* "$2"/LICENCE* "$2"/COPYING* "$2"/NOTICE* "$2"/PATENTS*; do
		[ -f "$file" ] || continue
		found=yes
		printf '\n%s\n%s: %s\n%s\n\n' "$line" "$1" "${file##*/}" "$line"
		cat "$file"
	done
	[ -n "$found" ] || { echo "copyright: $1 has no text of a licence in $2" >&2; exit 1; }
}

line=----------------------------------------------------------------------
modules=$(CGO_ENABLED=0 go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/dawk | sort -u)
[ -n "$modules" ]
texts "Go's standard library" "$(go env GOROOT)"
echo "$modules" | while read -r path version dir; do texts "$path $version" "$dir"; done
