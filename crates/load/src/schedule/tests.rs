use super::*;
use crate::model::{HttpClass, Model, Range};

const HOUR: Duration = Duration::from_secs(3_600);

fn seconds(count: f64) -> Duration {
    Duration::from_secs_f64(count)
}

fn mix() -> Mix {
    let customers = [Range { from: 1, to: 20_000 }];
    let classes = vec![
        HttpClass::fixed("GET", "/popular", 1.0),
        HttpClass::numbered("GET", "/checkout?customer={}", 3.0, &customers),
    ];
    Mix::http(&Model::of_http(10.0, classes)).unwrap()
}

/// Mean and variance of the number of arrivals in each whole window.
fn counts(schedule: &Schedule, window: Duration) -> (f64, f64) {
    let whole = schedule.ramp().span().as_micros() / window.as_micros();
    let mut counts = vec![0.0; usize::try_from(whole).unwrap()];
    for offset in schedule.offsets() {
        let place = usize::try_from(offset.as_micros() / window.as_micros()).unwrap();
        if let Some(count) = counts.get_mut(place) {
            *count += 1.0;
        }
    }
    let windows = f64::from(u32::try_from(counts.len()).unwrap());
    let mean = counts.iter().sum::<f64>() / windows;
    let variance = counts.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / (windows - 1.0);
    (mean, variance)
}

#[test]
fn the_same_seed_gives_the_same_arrivals_and_requests() {
    let ramp = Ramp::linear(5.0, 50.0, seconds(20.0)).then(Ramp::constant(50.0, seconds(20.0)));
    let draw = |seed| Schedule::new(ramp.clone(), seed).arrivals(&mix()).collect::<Vec<_>>();
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

#[test]
fn the_nth_request_is_the_same_at_every_rate() {
    let requests = |rate| {
        let schedule = Schedule::new(Ramp::constant(rate, seconds(10.0)), 7);
        schedule.arrivals(&mix()).map(|arrival| arrival.request).collect::<Vec<_>>()
    };
    let (slow, fast) = (requests(10.0), requests(90.0));
    assert!(slow.len() > 50 && fast.len() > 2 * slow.len());
    assert_eq!(slow, fast[..slow.len()]);
}

#[test]
fn poisson_counts_have_their_mean_as_variance() {
    // 3 600 windows: the mean is within 5 standard errors of 20, and the variance, whose standard
    // error is about 20·√(2/3600), too. The seeds are fixed, so this cannot fail by chance.
    for seed in 0..5 {
        let schedule = Schedule::new(Ramp::constant(20.0, HOUR), seed);
        let (mean, variance) = counts(&schedule, seconds(1.0));
        assert!((mean - 20.0).abs() < 0.38, "seed {seed}: mean {mean}");
        assert!((variance - 20.0).abs() < 2.4, "seed {seed}: variance {variance}");
    }
}

#[test]
fn dispersion_is_variance_over_mean_in_long_windows() {
    for index in [0.25, 4.0] {
        let schedule = Schedule::new(Ramp::constant(50.0, HOUR), 3).with_dispersion(index);
        let (mean, variance) = counts(&schedule, seconds(10.0));
        assert!((mean / 500.0 - 1.0).abs() < 0.02, "{index}: mean {mean}");
        assert!((variance / mean / index - 1.0).abs() < 0.3, "{index}: variance {variance}");
    }
}

#[test]
fn a_ramp_spreads_its_arrivals_by_its_rate() {
    // From 0 to 100 per second in 1 000 s: a quarter of the arrivals comes in the first half.
    let schedule = Schedule::new(Ramp::linear(0.0, 100.0, seconds(1_000.0)), 1);
    let offsets: Vec<Duration> = schedule.offsets().collect();
    let early = offsets.iter().filter(|offset| **offset < seconds(500.0)).count();
    assert!((49_000..51_000).contains(&offsets.len()), "{}", offsets.len());
    assert!((12_000..13_000).contains(&early), "{early}");
    assert!(offsets.is_sorted());
}

#[test]
fn nothing_comes_where_the_rate_is_zero() {
    let ramp = Ramp::constant(100.0, seconds(1.0))
        .then(Ramp::constant(0.0, seconds(10.0)))
        .then(Ramp::constant(-5.0, seconds(10.0)))
        .then(Ramp::constant(100.0, seconds(1.0)));
    let schedule = Schedule::new(ramp, 1);
    let quiet = seconds(1.0)..seconds(21.0);
    let offsets: Vec<Duration> = schedule.offsets().collect();
    assert!(offsets.iter().all(|offset| !quiet.contains(offset)));
    assert!(offsets.iter().any(|offset| *offset >= seconds(21.0)));
    assert_eq!(Schedule::new(Ramp::default(), 1).offsets().count(), 0);
}

#[test]
fn a_ramp_knows_its_rate_and_expectation() {
    let ramp = Ramp::linear(0.0, 10.0, seconds(10.0)).then(Ramp::constant(30.0, seconds(2.0)));
    assert_eq!(ramp.span(), seconds(12.0));
    assert!((ramp.expected() - 110.0).abs() < 1e-9);
    for (at, rate) in [(0.0, 0.0), (5.0, 5.0), (10.0, 30.0), (11.9, 30.0), (12.0, 0.0)] {
        assert!((ramp.rate_at(seconds(at)) - rate).abs() < 1e-9, "at {at}");
    }
}
