//! Whole histories as files have them: what is kept passes, what is broken is found, and what cannot
//! be read is named.
#![allow(clippy::unwrap_used, reason = "tests")]

use keelson_check::{Limits, ReadError, Torn, Verdict, check, read, text};

const HEADER: &str = r#"{"history":"keelson","version":1}"#;

fn verdict(lines: &[&str]) -> Verdict {
    let text = format!("{HEADER}\n{}\n", lines.join("\n"));
    check(&read(&text, Torn::Refuse).unwrap(), Limits::default())
}

fn findings(lines: &[&str]) -> Vec<String> {
    verdict(lines).findings.into_iter().map(|finding| finding.text).collect()
}

fn op(client: &str, call: u64, back: u64, request: &str, outcome: &str, response: &str) -> String {
    format!(
        r#"{{"type":"op","client":"{client}","call":{call},"return":{back},"request":{request},"outcome":"{outcome}","response":{response}}}"#
    )
}

fn write(client: &str, call: u64, back: u64, value: &str, outcome: &str) -> String {
    let request = format!(r#"{{"op":"write","key":"x","value":"{value}"}}"#);
    op(client, call, back, &request, outcome, "{}")
}

fn read_of(client: &str, call: u64, back: u64, value: &str) -> String {
    let response = format!(r#"{{"value":{value}}}"#);
    op(client, call, back, r#"{"op":"read","key":"x"}"#, "ok", &response)
}

fn broken(lines: &[String]) -> usize {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    findings(&lines).len()
}

#[test]
fn a_stale_read_is_found_and_drawn() {
    let lines = [
        write("a", 0, 10, "1", "ok"),
        write("a", 20, 30, "2", "ok"),
        read_of("b", 40, 50, "\"1\""),
        read_of("b", 60, 70, "\"2\""),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let verdict = verdict(&lines);
    assert_eq!(verdict.findings.len(), 1);
    let drawn = text(&verdict.findings[0].part);
    assert!(drawn.contains("x = 2 → done") && drawn.contains("read x → 1"), "{drawn}");
    assert_eq!(verdict.findings[0].part.len(), 3, "{drawn}");
}

#[test]
fn a_lost_reply_may_mean_either_and_a_failure_only_one() {
    for (outcome, seen, found) in [
        ("unknown", "\"2\"", 0),
        ("unknown", "\"1\"", 0),
        ("fail", "\"1\"", 0),
        ("fail", "\"2\"", 1),
        ("ok", "\"1\"", 1),
    ] {
        let lines = [
            write("a", 0, 10, "1", "ok"),
            write("a", 20, 30, "2", outcome),
            read_of("b", 40, 50, seen),
        ];
        assert_eq!(broken(&lines), found, "{outcome}, then {seen}");
    }
}

#[test]
fn transactions_are_checked_over_their_keys_together() {
    let transfer = r#"{"op":"txn","then":[{"op":"write","key":"x","value":"1"},{"op":"write","key":"y","value":"1"}]}"#;
    let both = r#"{"op":"txn","then":[{"op":"read","key":"x"},{"op":"read","key":"y"}]}"#;
    for (values, found) in [(r#"["1","1"]"#, 0), ("[null,null]", 0), (r#"["1",null]"#, 1)] {
        let response = format!(r#"{{"succeeded":true,"values":{values}}}"#);
        let lines =
            [op("a", 0, 10, transfer, "unknown", "{}"), op("b", 5, 20, both, "ok", &response)];
        assert_eq!(broken(&lines), found, "{values}");
    }
}

#[test]
fn a_lost_transaction_may_come_late_for_one_that_reads_before_it_writes() {
    let step = |value: &str| {
        let write = |key| format!(r#"{{"op":"write","key":"{key}","value":"{value}"}}"#);
        let read = r#"{"op":"read","key":"y"}"#;
        format!(r#"{{"op":"txn","then":[{read},{},{}]}}"#, write("x"), write("y"))
    };
    let told = |seen: &str| format!(r#"{{"succeeded":true,"values":[{seen}]}}"#);
    for (seen, found) in [("\"late\"", 0), ("\"1\"", 0), ("null", 1)] {
        let lines = [
            op("lost", 0, 10, &step("late"), "unknown", "{}"),
            op("a", 20, 30, &step("1"), "ok", &told("null")),
            op("a", 40, 50, &step("2"), "ok", &told(seen)),
        ];
        assert_eq!(broken(&lines), found, "{seen}");
    }
}

#[test]
fn lists_keep_the_order_of_what_was_appended() {
    let append = |client, call, value| {
        let request = format!(r#"{{"op":"append","key":"x","value":"{value}"}}"#);
        op(client, call, call + 10, &request, "ok", "{}")
    };
    for (seen, found) in [("\"1,2\"", 0), ("\"2,1\"", 1), ("\"2\"", 1)] {
        let lines = [append("a", 0, "1"), append("b", 20, "2"), read_of("c", 40, 50, seen)];
        assert_eq!(broken(&lines), found, "{seen}");
    }
}

const WHOLE: &str =
    r#"{"type":"watch","watcher":"w","at":0,"key":"","end":"","from":1,"member":"m0"}"#;

fn event(revision: i64, value: &str) -> String {
    format!(
        r#"{{"type":"events","watcher":"w","at":{revision},"revision":{revision},"events":[{{"key":"x","value":"{value}","revision":{revision},"created":2,"version":{}}}]}}"#,
        revision - 1
    )
}

#[test]
fn watchers_are_held_against_each_other_and_against_answers() {
    let other = r#"{"type":"watch","watcher":"v","at":0,"key":"x","from":2}"#;
    let as_other = |line: String| line.replace("\"w\"", "\"v\"");
    let (second, third) = (event(2, "a"), event(3, "b"));
    let settled = r#"{"type":"settled","at":9,"revision":3}"#;
    let (to_other, last) = (as_other(second.clone()), as_other(third.clone()));
    let whole = [WHOLE, &second, &third, other, &to_other, &last, settled];
    assert_eq!(findings(&whole), Vec::<String>::new());
    let lost = [WHOLE, &second, &third, other, &to_other, settled];
    assert_eq!(findings(&lost), ["v from 2 was never told of x = \"b\" at revision 3"]);
    let twice = [WHOLE, &second, &third, &third];
    assert_eq!(findings(&twice), ["w from 1 was told again, or late, of x = \"b\" at revision 3"]);
    let early = r#"{"type":"progress","watcher":"v","at":3,"revision":3}"#;
    let ahead = [WHOLE, &second, &third, other, &to_other, early, &last];
    assert_eq!(
        findings(&ahead),
        ["v from 2 was told that revision 3 is reached, and then of x = \"b\" at revision 3"]
    );
    let request = r#"{"op":"write","key":"x","value":"z"}"#;
    let acknowledged = op("a", 0, 1, request, "ok", r#"{"revision":3}"#);
    let gone = [WHOLE, &second, &third, &acknowledged];
    assert_eq!(findings(&gone).len(), 1, "{:?}", findings(&gone));
}

#[test]
fn registers_of_jepsen_are_read() {
    let history = |last: &str| {
        format!(
            "{{:process 0, :type :invoke, :f :write, :value 1}}\n\
             {{:process 0, :type :ok, :f :write, :value 1}}\n\
             {{:process :nemesis, :type :info, :f :start, :value nil}}\n\
             {{:process 1, :type :invoke, :f :cas, :value [1 2]}}\n\
             {{:process 1, :type :info, :f :cas, :value [1 2], :error :timeout}}\n\
             {{:process 2, :type :invoke, :f :read, :value nil}}\n\
             {{:process 2, :type :ok, :f :read, :value {last}}}\n"
        )
    };
    for (last, found) in [("1", 0), ("2", 0), ("3", 1), ("nil", 1)] {
        let recorded = read(&history(last), Torn::Refuse).unwrap();
        assert_eq!(check(&recorded, Limits::default()).findings.len(), found, "{last}");
    }
    let keyed = "[{:process 0, :type :invoke, :f :write, :value [7 1]}\n\
                 {:process 0, :type :ok, :f :write, :value [7 1]}\n\
                 {:process 0, :type :invoke, :f :read, :value [8 nil]}\n\
                 {:process 0, :type :ok, :f :read, :value [8 1]}]";
    assert_eq!(check(&read(keyed, Torn::Refuse).unwrap(), Limits::default()).findings.len(), 1);
}

#[test]
fn what_is_no_history_is_named() {
    let problem = |text: &str| read(text, Torn::Refuse).unwrap_err();
    assert_eq!(problem(""), ReadError::Empty);
    assert_eq!(problem(" \n"), ReadError::Empty);
    assert_eq!(problem("{\"history\":\"keelson\",\"version\":9}\n"), ReadError::Version(9));
    assert_eq!(problem("{\"a\":1}\n"), ReadError::Header);
    assert_eq!(problem("hello\n"), ReadError::Header);
    let torn = format!("{HEADER}\n{}\n{{\"type\":\"no", write("a", 0, 1, "1", "ok"));
    assert_eq!(problem(&torn), ReadError::Torn { line: 3 });
    assert_eq!(read(&torn, Torn::Drop).unwrap().lines.len(), 1);
    let unknown = problem(&format!("{HEADER}\n{{\"type\":\"miracle\"}}\n"));
    assert!(matches!(&unknown, ReadError::Line { line: 2, .. }), "{unknown}");
    assert!(unknown.to_string().contains("miracle"), "{unknown}");
    assert!(matches!(problem("{:process 1 :f :dance :type :invoke}{"), ReadError::Edn(_)));
}

/// Clients at once at one register.
const CLIENTS: u64 = 10;

/// A history that happened: what each operation did, it did in the middle of its time.
fn busy(operations: u64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut value = "null".to_owned();
    for number in 0..operations {
        let client = (number % CLIENTS).to_string();
        let (call, back) = (number * 10, number * 10 + 5 + 10 * (CLIENTS - 1) * (number % 7) / 7);
        match number % 3 {
            0 => {
                lines.push(write(&client, call, back, &number.to_string(), "ok"));
                value = format!("\"{number}\"");
            }
            1 if number % 50 == 1 => {
                // Never answered, and seen later or not.
                lines.push(write(&client, call, back, &number.to_string(), "unknown"));
                if number % 100 == 1 {
                    value = format!("\"{number}\"");
                }
            }
            _ => lines.push(read_of(&client, call, back, &value)),
        }
    }
    lines
}

#[test]
fn a_hundred_thousand_operations_on_one_register_are_checked() {
    let mut lines = busy(100_000);
    assert_eq!(broken(&lines), 0);
    lines.push(read_of("late", 2_000_000, 2_000_001, "\"99000\""));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let verdict = verdict(&lines);
    assert_eq!(verdict.findings.len(), 1);
    assert!(verdict.findings[0].part.len() <= 4, "{}", text(&verdict.findings[0].part));
}
