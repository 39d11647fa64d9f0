#!/usr/bin/env python3
"""Count words as `shoal demo` defines them, without any of its code, and compare.

  wordcount.py PATH...                   print the answer as JSON, in the fields of `shoal demo --json --words`
  wordcount.py --compare FILE PATH...    compare with an answer of shoal ("-": standard input); exit code 1 if it differs
  wordcount.py --agree DIR PATH...       make the new directory DIR, of symbolic links to the text files on which any
                                         two versions of Unicode agree, and list the others on standard error

Python and Go come with different versions of Unicode, so a letter that one of them knows may be unknown to the other.
Such a code point is unassigned in the older version. Files that contain code points unassigned here are those that
--agree lists and leaves out (this takes Python's version to be the older one; Go's is unicode.Version):

  wordcount.py --agree agreed "$(go env GOROOT)/src"
  go run ./cmd/shoal demo --json --words agreed | wordcount.py --compare - agreed

A text file is valid UTF-8 without NUL; a word is a maximal run of code points of category L* or Nd, each in lower case
by its simple mapping. Paths themselves may be symbolic links; below them links to files are followed and links to
directories are not; directories called .git are left out; each file is counted once.
"""

import argparse
import json
import os
import stat
import sys
import unicodedata
from collections import Counter

LONG = 256  # the last class of the histogram: words of so many code points or more


class Normal(dict):
    """For str.translate: letters and digits in lower case, everything else a space.

    lower() is the full mapping; it is longer than one character for U+0130 only, and begins with the simple one.
    """

    def __missing__(self, code):
        category = unicodedata.category(chr(code))
        self[code] = chr(code).lower()[0] if category[0] == "L" or category == "Nd" else " "
        return self[code]


def walk(paths):
    """Yield the regular files at and under paths, each once."""
    seen = set()
    for path in paths:
        for name in walk_one(path):
            real = os.path.realpath(name)
            if real not in seen:
                seen.add(real)
                yield name


def walk_one(path):
    if not stat.S_ISDIR(os.stat(path).st_mode):
        names = [path]
    else:
        names = []
        for directory, below, files in os.walk(path, onerror=raise_it):
            below[:] = sorted(d for d in below if d != ".git")
            names += [os.path.join(directory, f) for f in sorted(files)]
    for name in names:
        try:
            if stat.S_ISREG(os.stat(name).st_mode):
                yield name
        except OSError:
            if not os.path.islink(name):  # a link that leads nowhere is no file
                raise


def raise_it(error):
    raise error


def read(name):
    """Return the text of a file, None if it is not text."""
    with open(name, "rb") as f:
        content = f.read()
    if b"\0" in content:
        return None, 0
    try:
        return content.decode("utf-8"), len(content)
    except UnicodeDecodeError:
        return None, 0


def count(paths):
    normal = Normal()
    counts, lengths = Counter(), [0] * (LONG + 1)
    answer = dict(files=0, skipped=0, bytes=0, words=0, runes=0)
    for name in walk(paths):
        text, size = read(name)
        if text is None:
            answer["skipped"] += 1
            continue
        answer["files"] += 1
        answer["bytes"] += size
        counts.update(text.translate(normal).split())
    for w, n in counts.items():
        answer["words"] += n
        answer["runes"] += n * len(w)
        lengths[min(len(w), LONG)] += n
    while lengths and lengths[-1] == 0:
        lengths.pop()
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]
    answer.update(
        distinct=len(counts),
        top=[dict(word=w, count=n) for w, n in top],
        lengths=lengths,
        counts=counts,
    )
    return answer


def compare(answer, other):
    """Print how other differs from answer and return whether it does."""
    differs = False
    for field, value in answer.items():
        theirs = other.get(field)
        if theirs == value:
            continue
        differs = True
        if field != "counts" or theirs is None:
            print(f"{field}: {theirs!r:.200}, want {value!r:.200}")
            continue
        words = [w for w in value.keys() | theirs.keys() if value.get(w) != theirs.get(w)]
        for w in sorted(words)[:10]:
            print(f"{w!r:.60}: {theirs.get(w)}, want {value.get(w)}")
        print(f"{len(words)} words differ")
    return differs


def agree(directory, paths):
    unassigned = {chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) == "Cn"
                  and c & 0xFFFE != 0xFFFE and not 0xFDD0 <= c <= 0xFDEF}  # noncharacters remain so for ever
    os.mkdir(directory)
    number = 0
    for name in walk(paths):
        text, _ = read(name)
        if text is None:
            continue
        found = unassigned.intersection(text)
        if found:
            print(f"{name}: U+{ord(min(found)):04X} is unassigned in Unicode {unicodedata.unidata_version}", file=sys.stderr)
            continue
        number += 1
        os.symlink(os.path.realpath(name), os.path.join(directory, f"{number:06d}"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--compare", metavar="FILE", type=argparse.FileType("r", encoding="utf-8"))
    mode.add_argument("--agree", metavar="DIR")
    parser.add_argument("path", nargs="+")
    args = parser.parse_args()
    if args.agree:
        agree(args.agree, args.path)
        return 0
    answer = count(args.path)
    if args.compare is None:
        json.dump(answer, sys.stdout, ensure_ascii=False)
        print()
        return 0
    if compare(answer, json.load(args.compare)):
        return 1
    print(f"the same: {answer['words']} words, {answer['distinct']} of them different, in {answer['files']} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
