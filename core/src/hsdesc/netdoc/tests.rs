use super::*;

fn fault(text: &str) -> (usize, SyntaxFault) {
    let error = parse(text).expect_err("a fault");
    (error.line, error.fault)
}

#[test]
fn items_keep_arguments_object_and_place() {
    let text = "one  a b\n\ntwo\n-----BEGIN X Y-----\nAQID\nBA==\n-----END X Y-----\nthree c";
    let items = parse(text).expect("good");
    let section = Section(&items);
    assert_eq!(section.first("one").expect("first").args::<2>(), Ok(["a", "b"]));
    let two = section.one("two").expect("two");
    assert_eq!(two.line, 3);
    assert_eq!(two.object("X Y"), Ok([1, 2, 3, 4].as_slice()));
    assert_eq!(two.text, "two\n-----BEGIN X Y-----\nAQID\nBA==\n-----END X Y-----");
    let three = section.last("three").expect("last");
    assert_eq!((three.line, three.text), (8, "three c"));
}

#[test]
fn broken_objects_are_named_with_their_line() {
    assert_eq!(fault("a\n-----BEGIN X----\n"), (2, SyntaxFault::ObjectLabel));
    assert_eq!(fault("a\n-----BEGIN X-----\nAAAA\n-----END Y-----"), (4, SyntaxFault::ObjectLabel));
    assert_eq!(fault("a\n-----BEGIN X-----\nAAAA\n"), (3, SyntaxFault::UnterminatedObject));
    assert_eq!(fault("a\n-----BEGIN X-----\nAAAA\nA!AA\n-----END X-----"), (4, SyntaxFault::Base64));
    assert_eq!(fault("a\n-----BEGIN X-----\nAAAAA\n-----END X-----"), (2, SyntaxFault::Base64));
}

#[test]
fn counts_and_places_are_checked() {
    let items = parse("a 1\nb 2\na 3\n").expect("good");
    let section = Section(&items);
    let fault = |result: Result<&Item<'_>, SyntaxError>| result.expect_err("a fault").fault;
    assert_eq!(fault(section.one("a")), SyntaxFault::Repeated("a"));
    assert_eq!(fault(section.one("c")), SyntaxFault::Missing("c"));
    assert_eq!(fault(section.first("b")), SyntaxFault::NotFirst("b"));
    assert_eq!(fault(section.last("b")), SyntaxFault::NotLast("b"));
    let b = section.one("b").expect("b");
    assert_eq!(b.args::<0>().expect_err("one too many").fault, SyntaxFault::Arguments);
    assert_eq!(b.first_args::<2>().expect_err("one too few").fault, SyntaxFault::Arguments);
    assert_eq!(b.object("X").expect_err("none").fault, SyntaxFault::NoObject("X"));
    assert_eq!(b.lone_object("X").expect_err("an argument").fault, SyntaxFault::Arguments);
}

#[test]
fn blank_lines_may_stand_before_an_object_and_white_space_around_words() {
    let items = parse(" a \t 1 \n\n \n-----BEGIN X-----\n AA = =\n\n-----END X-----\n\n").expect("good");
    let a = Section(&items).last("a").expect("a");
    assert_eq!(a.leading_args::<1>(), Ok(["1"]));
    assert_eq!(a.args::<1>().expect_err("an object").fault, SyntaxFault::UnexpectedObject);
    assert_eq!(a.object("X"), Ok([0].as_slice()));
}

#[test]
fn white_space_is_what_tor_takes_for_it() {
    let items = parse("\ra\r1\r\nb \x0c2\x0b\n \t-----BEGIN X-----\nA\x0bA=\x0b=\r\n-----END X-----\n").expect("good");
    let (a, b) = (Section(&items).first("a").expect("a"), Section(&items).last("b").expect("b"));
    assert_eq!((a.args::<1>(), a.rest()), (Ok(["1"]), "1\r"));
    assert_eq!((b.leading_args::<1>(), b.object("X")), (Ok(["\x0c2\x0b"]), Ok([0].as_slice())));
    assert_eq!(fault("a\n-----BEGIN X-----\nAA==\x0c\n-----END X-----\n"), (3, SyntaxFault::Base64));
    assert_eq!(parse("\x0c\n").expect("a keyword like others").len(), 1);
}

#[test]
fn an_object_reads_back() {
    for length in [0, 1, 47, 48, 49, 200] {
        let bytes: Vec<u8> = (0..length).collect();
        let mut text = "a\n".to_owned();
        push_object(&mut text, "X", &bytes);
        assert!(text.lines().all(|line| line.len() <= OBJECT_LINE_LENGTH));
        let items = parse(&text).expect("own object");
        assert_eq!(Section(&items).one("a").expect("a").object("X"), Ok(bytes.as_slice()));
    }
}
