"""Scored pairs of files, and what is said of files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from conjure_st.agreement.files import read_pairs

PAIRS = [('a "big" cat', "a, cat"), ("a dog", "a puppy"), ("Ä", "é\u2028é")]
GOLD = [4.5, 3.0, 0.0]


def written(folder: Path, name: str, content: str) -> Path:
    file = folder / name
    file.write_bytes(content.encode())
    return file


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "pairs.tsv",
            'score\tsentence1\tsentence2\n4.5\ta "big" cat\ta, cat\n3.0\ta dog\ta puppy\n'
            "0\tÄ\té\u2028é\n",
        ),
        (
            "pairs.csv",
            '\ufeffid,text2,text1,gold\r\n1,"a, cat","a ""big"" cat",4.5\r\n\r\n'
            "2,a puppy,a dog,3\r\n3,é\u2028é,Ä,0e0\r\n",
        ),
        (
            "pairs.jsonl",
            '{"sentence_A": "a \\"big\\" cat", "sentence_B": "a, cat", "relatedness_score": 4.5}\n'
            '\n{"sentence_A": "a dog", "sentence_B": "a puppy", "relatedness_score": "3.0"}\n'
            '{"sentence_A": "Ä", "sentence_B": "é\u2028é", "relatedness_score": 0}',
        ),
    ],
)
def test_three_formats_say_the_same(tmp_path: Path, name: str, content: str) -> None:
    found = read_pairs(written(tmp_path, name, content))
    assert list(found.pairs) == PAIRS
    assert found.gold.tolist() == GOLD
    assert (found.name, found.kind, found.unit.tolist()) == (name, "similarity", [0, 1, 2])


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.csv"])
def test_long_texts_are_read(tmp_path: Path, name: str) -> None:
    long, mark = "a cat " * 50_000, "\t" if name.endswith(".tsv") else ","
    rows = [["score", "text1", "text2"], *([str(i), long, f"text {i}"] for i in range(3))]
    file = written(tmp_path, name, "\n".join(mark.join(row) for row in rows))
    assert read_pairs(file).pairs[2] == (long, "text 2")


def test_a_column_of_labels_makes_classes(tmp_path: Path) -> None:
    rows = "label\tsentence1\tsentence2\n1\ta\tb\n0\tc\td\n1\te\tf\n"
    assert read_pairs(written(tmp_path, "p.tsv", rows)).kind == "classes"
    graded = read_pairs(written(tmp_path, "q.tsv", rows.replace("1\ta", "2\ta")))
    assert graded.kind == "similarity"
    coupled = read_pairs(written(tmp_path, "r.tsv", rows + "0\ta\tg\n0\te\th\n"))
    assert coupled.unit.tolist() == [0, 1, 2, 0, 2]  # pairs of one text are drawn together
    assert graded.unit.tolist() == [0, 1, 2]


def test_columns_may_be_named(tmp_path: Path) -> None:
    file = written(tmp_path, "p.csv", "mos,left,right\n1,a,b\n2,c,d\n3,e,f\n")
    assert read_pairs(file, ["mos", "left", "right"]).pairs[1] == ("c", "d")
    with pytest.raises(ValueError, match=r"no column 'top'.*mos, left, right"):
        read_pairs(file, ["mos", "left", "top"])
    with pytest.raises(ValueError, match=r"names one column twice: mos, left, left"):
        read_pairs(file, ["mos", "left", "left"])


HEAD = "score\tsentence1\tsentence2\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.txt", "", r"p.txt is none of .tsv, .csv, .jsonl"),
        ("p.tsv", "", "p.tsv has no pairs"),
        ("p.tsv", HEAD, "p.tsv has no pairs"),
        ("p.jsonl", "\n\n", "p.jsonl has no pairs"),
        (
            "p.tsv",
            "score\ttext1\n1\ta\n",
            r"line 2: no column sentence1 and sentence2.*score, text1",
        ),
        ("p.tsv", "a\tb\tc\n1\tx\ty\n", r"no column score and sentence1 and sentence2"),
        ("p.tsv", HEAD + "1\ta\tb\nhigh\tc\td\n", "line 3: the score 'high' is no number"),
        ("p.tsv", HEAD + "1\ta\tb\nnan\tc\td\n", "line 3: the score 'nan' is not finite"),
        ("p.tsv", HEAD + "1\ta\tb\n2\tc\n", "line 3: 2 columns, and the head has 3"),
        ("p.tsv", HEAD + "1\ta\t \n", "line 2: ' ' is no text"),
        ("p.csv", "score,text1,text2,score\n1,a,b,2\n", "line 1: two columns are called 'score'"),
        (
            "p.jsonl",
            '{"score": 1' + "0" * 400 + ', "sentence1": "a", "sentence2": "b"}\n',
            r"line 1: the score 10{39} is no number",
        ),
        ("p.tsv", HEAD + "1\ta\tb\n2\tc\td\n", "p.tsv has 2 pairs"),
        ("p.csv", 'score,sentence1,sentence2\n1,"a"b,c\n', "p.csv, line 2: ',' expected"),
        ("p.jsonl", '{"score": 1,\n', "line 1 is no JSON"),
        ("p.jsonl", "[1, 2]\n", "line 1 is no object"),
        ("p.jsonl", '{"score": 1, "sentence1": "a"}\n', "no column sentence1 and sentence2"),
        ("p.jsonl", '{"score": null, "sentence1": "a", "sentence2": "b"}\n', "None is no number"),
        ("p.jsonl", '{"score": 1, "sentence1": 5, "sentence2": "b"}\n', "5 is no text"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        read_pairs(written(tmp_path, name, content))


def test_other_encodings_are_told(tmp_path: Path) -> None:
    file = tmp_path / "p.tsv"
    file.write_bytes(HEAD.encode() + "1\tÄ\tb\n".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        read_pairs(file)
