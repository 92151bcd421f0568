//! The built-in data, and files that are none.

use std::{fs, path::Path};

use super::*;

pub(crate) fn choice(data: &str, target: Option<&str>) -> DataChoice {
    DataChoice { data: data.to_owned(), target: target.map(str::to_owned), good_from: 6, data_dir: None }
}

#[test]
fn copies_of_a_wine_share_its_group() {
    let table = choice("wine", None).classes().expect("it is built in").table;
    assert_eq!((table.features.dim(), table.groups, table.columns.len()), ((1599, 11), 1359, 11));
    for (a, &group) in table.group.iter().enumerate() {
        let first = table.group.iter().position(|&other| other == group).expect("it is in the list");
        assert_eq!(table.features.row(a), table.features.row(first), "rows {a} and {first}");
    }
    let max = table.group.iter().max().copied();
    assert_eq!(max, Some(table.groups - 1), "groups are numbered without gaps");
}

#[test]
fn good_wines_are_those_from_a_mark_on() {
    for (good_from, expected) in [(4, 1589), (6, 855), (7, 217), (8, 18)] {
        let data =
            DataChoice { good_from, ..choice("wine", Some("good")) }.classes().expect("it is built in");
        assert_eq!(data.classes.iter().sum::<usize>(), expected, "from {good_from}");
    }
    let marks = choice("wine", Some("quality")).classes().expect("it is built in");
    assert_eq!(marks.labels, [3, 4, 5, 6, 7, 8].map(Value::from));
}

#[test]
fn iris_and_diabetes_are_built_in() {
    let iris = choice("iris", None).classes().expect("it is built in");
    assert_eq!((iris.table.features.dim(), iris.labels.len()), ((150, 4), 3));
    // linfa-datasets takes the first of 442 patients for a heading.
    let diabetes = choice("diabetes", None).numbers().expect("it is built in");
    assert_eq!((diabetes.table.features.dim(), diabetes.numbers.len()), ((441, 10), 441));
}

fn file(dir: &Path, text: &[u8]) -> String {
    let path = dir.join("t.csv");
    fs::write(&path, text).expect("it can be written");
    path.display().to_string()
}

#[test]
fn a_file_has_its_labels_as_they_are_written_and_numbers_in_their_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = file(dir.path(), "\u{feff}a;kind;b\r\n1;x;2\r\n 3 ;\"y z\";4e1\r\n1;x;2\r\n".as_bytes());
    let data = choice(&path, Some("kind")).classes().expect("it is a table");
    assert_eq!(
        (data.labels.as_slice(), data.classes.as_slice()),
        (&["x", "y z"].map(Value::from)[..], &[0, 1, 0][..])
    );
    assert_eq!((data.table.columns.join(","), data.table.groups), ("a,b".to_owned(), 2));
    assert_eq!(data.table.features.row(1).to_vec(), [3.0, 40.0]);
    // The last column, if none is named; 10 is above 9.
    let path = file(dir.path(), b"a,n\n1,10\n2,9\n3,10\n");
    assert_eq!(choice(&path, None).classes().expect("classes").labels, [9, 10].map(Value::from));
    assert_eq!(choice(&path, None).numbers().expect("numbers").numbers, [10.0, 9.0, 10.0]);
}

#[test]
fn files_that_are_no_tables_are_refused_with_the_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let cases: [(&[u8], Option<&str>, &str); 14] = [
        (b"", None, "is empty"),
        (b"a,b\n", None, "has a heading and no rows"),
        (b"a,b\n1,x\n2,x\n", None, "all rows have the same b"),
        (b"a,b\n1,x\nnan,y\n", None, r#"line 3: column a is "nan""#),
        (b"a,b\n1,x\ninf,y\n", None, r#"line 3: column a is "inf""#),
        (b"a,b\n1,x\n,y\n", None, r#"line 3: column a is """#),
        (b"a,b\n1,x\nParis,y\n", None, r#"line 3: column a is "Paris""#),
        (b"a,b\n1,x\n2,\n", None, "line 3: column b is empty"),
        (b"a,b\n1,x\n2\n", None, "line 3 has 1 columns, and the heading has 2"),
        (b"a,b\n1,x\n2,y\n", Some("c"), "has no column \"c\""),
        (b"a,a\n1,x\n2,y\n", None, "two columns called \"a\""),
        (b"a,\n1,x\n2,y\n", None, "column 2 has no name"),
        (b"b\nx\ny\n", None, "no column besides"),
        (b"a,b\n1,\xff\n2,y\n", None, "is not UTF-8"),
    ];
    for (text, target, expected) in cases {
        let error = choice(&file(dir.path(), text), target).classes().expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let path = file(dir.path(), b"a,b\n1,2\n2,tall\n");
    let error = choice(&path, None).numbers().expect_err("no number").to_string();
    assert!(error.contains(r#"line 3: column b is "tall""#), "{error}");
    let many: String = (0..300).map(|n| format!("{n},c{n}\n")).collect();
    let error =
        choice(&file(dir.path(), format!("a,b\n{many}").as_bytes()), None).classes().expect_err("too many");
    assert!(matches!(error, DataError::TooManyClasses { count: 300, .. }), "{error}");
}

#[test]
fn what_is_no_data_or_has_no_such_target_says_what_there_is() {
    let text = |error: DataError| format!("{error}; {}", error.help().unwrap_or_default());
    let cases = [
        (choice("wein", None).classes().map(drop), "wine, iris, diabetes"),
        (choice("nothing.csv", None).classes().map(drop), "cannot read nothing.csv"),
        (choice("wine", Some("colour")).classes().map(drop), "good, quality"),
        (choice("wine", Some("good")).numbers().map(drop), "quality"),
        (choice("iris", None).numbers().map(drop), "forest"),
        (choice("diabetes", None).classes().map(drop), "elastic-net"),
        (choice("/dev/zero.csv", None).classes().map(drop), "cannot read"),
        (choice("/.csv", None).classes().map(drop), "cannot read"),
    ];
    for (result, expected) in cases {
        let text = text(result.expect_err(expected));
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_file_is_found_where_the_sweeps_data_are() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = file(dir.path(), b"a,b\n1,x\n2,y\n");
    for data_dir in [dir.path().as_os_str().to_owned(), path.into()] {
        let choice = DataChoice { data_dir: Some(data_dir), ..choice("t.csv", None) };
        assert_eq!(choice.classes().expect("it is found").classes, [0, 1]);
    }
}
