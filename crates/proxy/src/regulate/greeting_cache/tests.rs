use super::*;

fn at(seconds: u64) -> Micros {
    Micros::from_secs(1000 + seconds)
}

fn key(user: &str) -> Arc<Key> {
    Arc::new(Key { user: user.as_bytes().into(), ..Key::default() })
}

fn signature(role_settings: &str, values: &str) -> Signature {
    Signature { role_settings: role_settings.into(), values: values.into() }
}

fn reported(pairs: &[(&str, &str)]) -> Arc<Reported> {
    let mut reported = Reported::default();
    pairs.iter().for_each(|(name, value)| reported.set(name.as_bytes(), value.as_bytes()));
    Arc::new(reported)
}

/// A cache with a greeting that was kept in second 0, under this signature.
fn cache(key: &Arc<Key>, pairs: &[(&str, &str)]) -> (Arc<GreetingCache>, Outdated) {
    let cache = Arc::new(GreetingCache::default());
    let mut mark = cache.outdated(key);
    let mut state = cache.state.lock();
    state.note(key, &mut mark, &signature("r1", "v1"), (Need::New, at(0), at(0)));
    state.kind(key).greeting = Some(Greeting::new(&reported(pairs), at(0)));
    drop(state);
    (cache, mark)
}

/// What a client finds that arrives in this second.
fn find(cache: &Arc<GreetingCache>, key: &Arc<Key>, second: u64) -> &'static str {
    name(&cache.find(key, (at(second), at(second)), true))
}

fn name(found: &Found) -> &'static str {
    match found {
        Found::Known(_) => "known",
        Found::Refresh(_, Need::New) => "open",
        Found::Refresh(..) => "ask",
        Found::Wait(_) => "wait",
    }
}

/// The same answer in this second, from a connection with this mark.
fn answers(
    (cache, key): (&Arc<GreetingCache>, &Arc<Key>),
    mark: &mut Outdated,
    answer: (&str, &str),
    (need, second): (Need, u64),
) -> bool {
    let answer = signature(answer.0, answer.1);
    cache.state.lock().note(key, mark, &answer, (need, at(second), at(second)))
}

#[test]
fn a_greeting_is_good_as_long_as_it_is_confirmed() {
    let ann = key("ann");
    let (cache, mut mark) = cache(&ann, &[("in_hot_standby", "off")]);
    assert_eq!([2, 3].map(|second| find(&cache, &ann, second)), ["known", "ask"]);
    let hurry = cache.find(&ann, (at(500), at(500)), false);
    assert_eq!(name(&hurry), "known", "without time to ask an old one must do");
    assert!(!answers((&cache, &ann), &mut mark, ("r1", "v1"), (Need::Any, 10)));
    assert_eq!(find(&cache, &ann, 12), "known");
    // Of another kind a connection is looked at.
    let bob = key("bob");
    let mut other = cache.outdated(&bob);
    assert!(!answers((&cache, &bob), &mut other, ("r7", "v7"), (Need::Any, 40)));
    assert_eq!([40, 41].map(|second| find(&cache, &ann, second)), ["known", "ask"]);
    assert_eq!(find(&cache, &bob, 40), "open");
}

#[test]
fn a_server_that_says_it_is_read_only_is_asked_each_time() {
    for parameter in ["in_hot_standby", "default_transaction_read_only"] {
        let ann = key("ann");
        let (cache, mut mark) = cache(&ann, &[(parameter, "on")]);
        assert!(!answers((&cache, &ann), &mut mark, ("r1", "v1"), (Need::Any, 2)));
        assert_eq!([1, 2, 3].map(|second| find(&cache, &ann, second)), ["known", "known", "ask"]);
        let hurry = cache.find(&ann, (at(3), at(3)), false);
        assert_eq!(name(&hurry), "ask");
    }
}

#[test]
fn other_values_drop_the_greetings_of_all_kinds_and_renew_nothing() {
    let (ann, bob) = (key("ann"), key("bob"));
    let (cache, mut mark) = cache(&ann, &[]);
    cache.state.lock().kind(&bob).greeting = Some(Greeting::new(&reported(&[]), at(0)));
    assert!(!answers((&cache, &ann), &mut mark, ("r1", "v2"), (Need::Any, 1)));
    assert_eq!([&ann, &bob].map(|key| find(&cache, key, 1)), ["open", "open"]);
    assert!(!mark.is_set());
}

#[test]
fn other_settings_of_a_role_renew_the_connections_of_its_kind() {
    let (ann, bob) = (key("ann"), key("bob"));
    let (cache, mut old) = cache(&ann, &[]);
    let other = cache.outdated(&bob);
    assert!(answers((&cache, &ann), &mut old, ("r2", "v1"), (Need::Any, 1)));
    assert!(old.is_set() && !other.is_set() && !cache.outdated(&ann).is_set());
    assert_eq!(find(&cache, &ann, 1), "open");
    // It is not heard any more.
    assert!(!answers((&cache, &ann), &mut old, ("r1", "v1"), (Need::Any, 2)));
    // The next change comes soon: the connections are renewed later, new sessions have it at once.
    let mut second = cache.outdated(&ann);
    let mut third = second.clone();
    assert!(!answers((&cache, &ann), &mut second, ("r3", "v2"), (Need::Any, 2)));
    assert!(!answers((&cache, &ann), &mut third, ("r3", "v3"), (Need::New, 3)));
    cache.state.lock().kind(&ann).greeting = Some(Greeting::new(&reported(&[]), at(3)));
    assert!(!answers((&cache, &ann), &mut second, ("r3", "v2"), (Need::Any, 4)));
    assert_eq!([find(&cache, &ann, 5), find(&cache, &ann, 8)], ["known", "open"]);
    assert!(answers((&cache, &ann), &mut second, ("r3", "v2"), (Need::Any, 6)));
    assert!(second.is_set() && third.is_set());
}

#[test]
fn one_session_refreshes_and_the_others_wait() {
    let ann = key("ann");
    let cache = Arc::new(GreetingCache::default());
    let first = cache.find(&ann, (at(0), at(0)), true);
    assert_eq!(name(&first), "open");
    assert_eq!(find(&cache, &ann, 0), "wait");
    let second = cache.find(&ann, (at(0), at(2)), true);
    assert_eq!(name(&second), "open", "it takes too long");
    assert_eq!(find(&cache, &ann, 3), "wait", "not all take it over at once");
    drop(first);
    assert_eq!(find(&cache, &ann, 3), "wait", "for the second");
    drop(second);
    assert_eq!(find(&cache, &ann, 3), "open");
}

#[test]
fn kinds_without_a_connection_are_forgotten() {
    let cache = Arc::new(GreetingCache::default());
    let kept = key("kept");
    let mark = cache.outdated(&kept);
    for number in 0..2 * KINDS_MAX {
        cache.outdated(&key(&number.to_string()));
    }
    let state = cache.state.lock();
    assert!(state.kinds.len() <= KINDS_MAX && state.kinds.contains_key(&kept));
    drop(state);
    cache.clear();
    assert!(mark.is_set());
}
