//! Files that mean harm: they are refused in bounded time and memory, with an error that can be shown.

use std::fmt::Write as _;

use super::*;

fn code(source: &[u8]) -> &'static str {
    match parse(source, &Context { file_stem: "x", count: None }) {
        Ok(_) => "taken",
        Err(SpecErrors(errors)) => {
            assert!(errors.len() <= super::super::limits::ERRORS);
            for error in &errors {
                let text = format!("{}{}", error.message, error.help.clone().unwrap_or_default());
                assert!(
                    text.len() < 4_000 && !text.contains(|c: char| c.is_control() && c != '\n'),
                    "{text}"
                );
            }
            errors[0].code
        }
    }
}

#[test]
fn s15_a_billion_laughs_are_not_counted() {
    let mut bomb = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for i in 1..20 {
        let _ = writeln!(bomb, "a{i}: &a{i} [{}]", vec![format!("*a{}", i - 1); 9].join(", "));
    }
    assert_eq!(code(bomb.as_bytes()), "sweep::too_complex");
    let long = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 900].join(", "));
    assert_eq!(code(long.as_bytes()), "sweep::too_complex");
}

#[test]
fn s16_an_alias_cannot_stand_within_itself() {
    assert_eq!(code(b"a: &a [*a]\n"), "sweep::alias_cycle");
    assert_eq!(code(b"a: &a {b: {c: *a}}\n"), "sweep::alias_cycle");
    assert_eq!(code(b"parameters: *p\n"), "sweep::unknown_anchor");
}

#[test]
fn s17_depth_is_bounded() {
    for n in [40, 200, 10_000, 100_000] {
        for (open, close) in [("[", "]"), ("{a: ", "}")] {
            let nested = format!("a: {}1{}\n", open.repeat(n), close.repeat(n));
            assert_eq!(code(nested.as_bytes()), "sweep::too_complex", "{open} {n}");
        }
        assert_eq!(code(format!("{}x\n", "- ".repeat(n)).as_bytes()), "sweep::too_complex");
        assert_ne!(code("[".repeat(n).as_bytes()), "taken");
    }
    let mut nested = String::new();
    (0..700).for_each(|i| {
        let _ = writeln!(nested, "{}a:", " ".repeat(i));
    });
    assert_eq!(code(nested.as_bytes()), "sweep::too_complex");
}

#[test]
fn s18_size_is_bounded() {
    assert_eq!(code(&vec![b'a'; (1 << 20) + 1]), "sweep::too_large");
    assert_ne!(code(&vec![b'a'; 1 << 20]), "taken");
    let line = format!("a: \"{}\"\n", "x".repeat(1_000_000));
    assert_ne!(code(line.as_bytes()), "taken");
    assert_ne!(code("x: 1\n".repeat(200_000).as_bytes()), "taken");
    assert_ne!(code(&vec![b'\n'; 1 << 20]), "taken");
    assert_ne!(code(&vec![b'#'; 1 << 20]), "taken");
}

#[test]
fn s19_a_grid_that_cannot_be_counted_is_refused_before_anything_is_made() {
    let mut source = String::from("command: [x]\nparameters:\n");
    (0..10).for_each(|i| {
        let _ = writeln!(source, "  a{i}: {{min: 1, max: 100}}");
    });
    let errors = errors(&source);
    assert_eq!((errors.len(), errors[0].code), (1, "sweep::too_many_points"));
    assert!(errors[0].help.as_deref().unwrap().contains("`a0` has 100"));
}

#[test]
fn s20_values_are_counted_not_made() {
    assert_eq!(spec(&axis("{min: 0, max: 1000000}")).axes[0].values.count(), 1_000_001);
    assert_eq!(spec(&axis("{min: 0, max: 9007199254740991}")).axes[0].values.count(), 1 << 53);
    for body in ["{min: 0, max: 9007199254740992}", "{min: -9223372036854775808, max: 9223372036854775807}"] {
        assert_eq!(code(axis(body).as_bytes()), "sweep::limit", "{body}");
    }
    assert_eq!(code(axis("{min: 0, max: 1, steps: 1e12}").as_bytes()), "sweep::wrong_type");
    assert_eq!(code(axis("{min: 0, max: 1, steps: 1000000000000}").as_bytes()), "sweep::duplicate_value");
    let repeats = "command: [x]\nrepeats: x\nparameters: {x: {min: 0, max: 9000000000}}\n";
    assert_eq!(code(repeats.as_bytes()), "sweep::unusable");
    let listed: Vec<String> = (0..100_001).map(|i| i.to_string()).collect();
    assert_eq!(code(axis(&format!("{{values: [{}]}}", listed.join(","))).as_bytes()), "sweep::limit");
}

#[test]
fn s25_other_encodings_documents_and_tags_are_refused_by_name() {
    let utf16: Vec<u8> = "name: x".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with_mark: Vec<u8> = [0xff, 0xfe].into_iter().chain(utf16.iter().copied()).collect();
    let cases: [(&[u8], &str); 10] = [
        (&utf16, "sweep::encoding"),
        (&with_mark, "sweep::encoding"),
        (b"name: \xff\xfe\n", "sweep::encoding"),
        (b"name: a\0b\n", "sweep::control_character"),
        (b"name: a\x1b[2J\n", "sweep::control_character"),
        (b"a: 1\n---\nb: 2\n", "sweep::many_documents"),
        (b"a: !!python/object:os.system x\n", "sweep::syntax"),
        (b"a: !include /etc/passwd\n", "sweep::syntax"),
        (b"command: [x]\nparameters:\n\ta: {value: 1}\n", "sweep::tab"),
        (b"", "sweep::empty"),
    ];
    for (source, expected) in cases {
        assert_eq!(code(source), expected, "{}", String::from_utf8_lossy(source));
    }
}

#[test]
fn s28_parameters_and_values_are_bounded() {
    let many: String = (0..20_000).map(|i| format!("  p{i}: {{value: 1}}\n")).collect();
    assert_eq!(code(format!("command: [x]\nparameters:\n{many}").as_bytes()), "sweep::limit");
    assert_eq!(code(axis(&format!("{{value: \"{}\"}}", "x".repeat(70_000))).as_bytes()), "sweep::limit");
    let items: Vec<String> = (0..30_000).map(|i| i.to_string()).collect();
    assert_eq!(code(axis(&format!("{{value: [{}]}}", items.join(","))).as_bytes()), "sweep::limit");
    let wide: String = (0..10).map(|i| format!("  p{i}: {{value: \"{}\"}}\n", "x".repeat(60_000))).collect();
    assert_eq!(code(format!("command: [x]\nparameters:\n{wide}").as_bytes()), "sweep::limit");
    let duplicates = axis(&format!("{{values: [{}]}}", vec!["1"; 90_000].join(",")));
    let parsed = read(&duplicates).unwrap();
    assert_eq!((parsed.spec.axes[0].values.count(), parsed.warnings.len()), (1, 1));
}

#[test]
fn s33_expressions_are_bounded() {
    assert_ne!(
        code(with(&format!("exclude: [\"{}a{} > 1\"]", "(".repeat(1_500), ")".repeat(1_500))).as_bytes()),
        "taken"
    );
    assert_ne!(code(with(&format!("exclude: [\"a > {}\"]", "9".repeat(5_000))).as_bytes()), "taken");
    let many = vec!["a > 1"; 1_001].join(", ");
    assert_eq!(code(with(&format!("exclude: [{many}]")).as_bytes()), "sweep::limit");
}

#[test]
fn no_cut_of_a_good_file_panics() {
    let source = "command: [python, \"${args}\"]\nmetric: {name: 'é', goal: max}\nparameters:\n  a: &x {values: [1, 2.5, ~], when: 'b == 1'}\n  b: {min: 0.1, max: 1e3, steps: 4, scale: log}\nzip: [[a, *x]]\n";
    for cut in 0..source.len() {
        code(&source.as_bytes()[..cut]);
        let mut changed = source.as_bytes().to_vec();
        for byte in [b'[', b'{', b':', b'"', b'\t', b'&', 0xff, b'\n'] {
            changed[cut] = byte;
            code(&changed);
        }
    }
}
