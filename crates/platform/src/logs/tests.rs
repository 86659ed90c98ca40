//! The hub's promises: order, bounds, filters, loss that is told.

use std::sync::Arc;

use parking_lot::Mutex;
use trace::{Clock, DynoNames, Event, Micros, Sink};

use super::*;
use crate::name::DynoName;
use crate::tracer::Tracer;

#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Event>>);

impl Sink for Kept {
    fn record(&self, event: Event) -> bool {
        self.0.lock().push(event);
        true
    }
}

fn texts(entries: &[Arc<LogEntry>]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.text).collect()
}

fn all(lines: usize) -> LogFilter {
    LogFilter { lines, ..LogFilter::default() }
}

#[test]
fn a_line_looks_as_on_heroku() {
    let entry = LogEntry {
        at: Micros(1_284_650_026_677_020),
        source: Source::App,
        process: "web.1".into(),
        text: "Started GET \"/\"".into(),
    };
    let expected = "2010-09-16T15:13:46.677020+00:00 app[web.1]: Started GET \"/\"";
    assert_eq!(entry.to_string(), expected);
}

#[test]
fn history_holds_the_newest_1500_lines() {
    let hub = LogHub::new(Clock::start());
    for number in 0..2000 {
        hub.write(Source::App, "web.1", &number.to_string());
    }
    let history = hub.history(&all(usize::MAX));
    assert_eq!(history.len(), 1500);
    assert_eq!(&*history[0].text, "500");
    assert_eq!(texts(&hub.history(&all(2))), ["1998", "1999"]);
}

#[test]
fn filters_by_dyno_type_and_source() {
    let hub = LogHub::new(Clock::start());
    hub.write(Source::App, "web.1", "a");
    hub.write(Source::App, "web.2", "b");
    hub.write(Source::App, "worker.1", "c");
    hub.heroku("web.1", "d");
    hub.heroku("router", "e");
    let show = |dyno: Option<&str>, source| {
        let filter = LogFilter { dyno: dyno.map(str::to_owned), source, lines: 100 };
        texts(&hub.history(&filter)).concat()
    };
    assert_eq!(show(None, None), "abcde");
    assert_eq!(show(Some("web"), None), "abd");
    assert_eq!(show(Some("web.1"), None), "ad");
    assert_eq!(show(Some("web.1"), Some(Source::App)), "a");
    assert_eq!(show(None, Some(Source::Heroku)), "de");
    assert_eq!(show(Some("router"), None), "e");
    assert_eq!(show(Some("we"), None), "");
}

#[tokio::test]
async fn a_tail_has_history_then_new_lines_then_ends() {
    let hub = LogHub::new(Clock::start());
    hub.write(Source::App, "web.1", "old");
    let mut tail = hub.tail(all(10));
    hub.write(Source::App, "web.1", "new");
    hub.close();
    hub.write(Source::App, "web.1", "too late");
    let mut seen = Vec::new();
    while let Some(entry) = tail.next().await {
        seen.push(entry.text.clone());
    }
    assert_eq!(seen.concat(), "oldnew");
    let mut late = hub.tail(all(1));
    assert!(late.next().await.is_some());
    assert!(late.next().await.is_none());
}

#[tokio::test]
async fn a_slow_tail_loses_the_oldest_lines_and_is_told() {
    let hub = LogHub::new(Clock::start());
    let mut tail = hub.tail(all(0));
    for number in 0..3000 {
        hub.write(Source::App, "web.1", &number.to_string());
    }
    let notice = tail.next().await.unwrap();
    assert_eq!((notice.source, &*notice.process), (Source::Heroku, "logplex"));
    let expected = "Error L11 (Tail buffer overflow) -> This tail session dropped 1976 messages";
    assert!(notice.text.starts_with(expected), "{}", notice.text);
    assert_eq!(&*tail.next().await.unwrap().text, "1976");
}

#[tokio::test]
async fn a_flood_is_told_once_a_second_and_when_it_is_over() {
    let hub = LogHub::new(Clock::start());
    let mut tail = hub.tail(all(0));
    let mut notices = Vec::new();
    // It reads one line while six thousand come, again and again.
    for _ in 0..100 {
        for number in 0..6000 {
            hub.write(Source::App, "web.1", &number.to_string());
        }
        let entry = tail.next().await.unwrap();
        notices.extend((entry.source == Source::Heroku).then_some(entry));
    }
    assert!(notices.len() <= 20, "{}", notices.len());
    hub.close();
    let mut lines = 100 - notices.len();
    while let Some(entry) = tail.next().await {
        if entry.source == Source::Heroku { notices.push(entry) } else { lines += 1 }
    }
    let dropped = notices.iter().map(|notice| {
        let (_, rest) = notice.text.split_once("dropped ").unwrap();
        rest.split(' ').next().unwrap().parse::<usize>().unwrap()
    });
    assert_eq!(dropped.sum::<usize>() + lines, 600_000, "each line is read or told as lost");
}

async fn drained(bytes: &[u8]) -> (Vec<String>, Vec<Event>) {
    let clock = Clock::start();
    let hub = LogHub::new(clock);
    let kept = Arc::new(Kept::default());
    let sink: Arc<dyn Sink> = kept.clone();
    let tracer = Tracer::new(clock, Arc::new(DynoNames::new(clock)), sink);
    let output = DynoOutput::new(hub.clone(), &DynoName::new("web", 1), tracer);
    output.drain(bytes).await;
    let lines = hub.history(&all(usize::MAX)).iter().map(|entry| entry.text.to_string()).collect();
    let events = std::mem::take(&mut *kept.0.lock());
    (lines, events)
}

#[tokio::test]
async fn output_is_split_into_lines_of_bounded_length() {
    let (lines, _) = drained(b"one\r\ntwo\n\nthree").await;
    assert_eq!(lines, ["one", "two", "", "three"]);

    // 9 999 bytes, then a character of two bytes across the limit: the split goes before it.
    let long = format!("{}é{}\nnext", "x".repeat(9_999), "y".repeat(25_000));
    let (lines, _) = drained(long.as_bytes()).await;
    let lengths: Vec<_> = lines.iter().map(String::len).collect();
    assert_eq!(lengths, [9_999, 10_000, 10_000, 5_002, 4]);
    assert_eq!(lines.concat(), long.replace('\n', ""));

    let (lines, _) = drained(format!("{}\n", "z".repeat(10_000)).as_bytes()).await;
    assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [10_000]);
}

#[test]
fn lines_that_were_written_at_once_stay_together() {
    let hub = LogHub::new(Clock::start());
    let dynos: Vec<_> = ["web.1", "web.2", "web.3"].into_iter().collect();
    // As many threads as dynos, each with stack traces of five lines, written by one write.
    std::thread::scope(|scope| {
        for name in &dynos {
            let output = output(&hub, &name.parse().unwrap());
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    for number in 0..50 {
                        let trace: String =
                            (0..5).map(|frame| format!("trace {number} frame {frame}\n")).collect();
                        output.drain(trace.as_bytes()).await;
                    }
                });
            });
        }
    });
    let history = hub.history(&all(usize::MAX));
    assert_eq!(history.len(), 3 * 50 * 5);
    for trace in history.chunks(5) {
        assert!(trace.iter().all(|line| line.process == trace[0].process), "{trace:?}");
        let frames: Vec<_> = trace.iter().filter_map(|line| line.text.chars().last()).collect();
        assert_eq!(frames, ['0', '1', '2', '3', '4']);
    }
}

fn output(hub: &LogHub, name: &DynoName) -> DynoOutput {
    let clock = Clock::start();
    let sink: Arc<dyn Sink> = Arc::new(Kept::default());
    let tracer = Tracer::new(clock, Arc::new(DynoNames::new(clock)), sink);
    DynoOutput::new(hub.clone(), name, tracer)
}

#[tokio::test]
async fn bytes_that_are_no_text_do_no_harm() {
    let (lines, _) = drained(b"\xff\xfe\nok\n").await;
    assert_eq!(lines, ["\u{fffd}\u{fffd}", "ok"]);
}

#[tokio::test]
async fn error_lines_are_recorded_cut_and_bounded() {
    let mut bytes = format!("ERROR {}\n", "é".repeat(600)).into_bytes();
    bytes.extend_from_slice(b"all is well\n");
    bytes.extend("error again\n".repeat(1000).bytes());
    let (lines, events) = drained(&bytes).await;
    assert_eq!(lines.len(), 1002);
    let recorded: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::LineLogged(line) => Some(&*line.text),
            _ => None,
        })
        .collect();
    assert!((50..=100).contains(&recorded.len()), "{}", recorded.len());
    assert_eq!(recorded[0].len(), 500);
    assert_eq!(recorded[1], "error again");
}
