//! What `SHUTDOWN WAIT_FOR_SERVERS` does: new requests are refused, open transactions end.

use proxy::Mode;

use crate::harness::{Fixture, SOON, code, limit};
use crate::raw::Raw;

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_refused_and_transactions_end() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(3)).await;
    let control = fixture.proxy.control();
    let (mut busy, idle) = (fixture.connect().await, fixture.connect().await);
    let (queued, listener) = (fixture.connect().await, fixture.connect().await);
    let mut batch = Raw::login(&fixture).await;
    busy.batch_execute("CREATE TABLE kept (n int)").await.unwrap();
    let transaction = busy.transaction().await.unwrap();
    transaction.batch_execute("INSERT INTO kept VALUES (7)").await.unwrap();

    // One waits already, in a pause that ends with the proxy only.
    let (paused, waits) = (control.pause(None), queued.batch_execute("SELECT 1"));
    let order = async {
        testkit::wait_until(SOON, || control.look().databases[0].waiting == 1).await;
        let rest = async {
            assert!(control.resume(None).is_err(), "there is no way back");
            for refused in [
                idle.batch_execute("SELECT 1").await.unwrap_err(),
                listener.batch_execute("LISTEN news").await.unwrap_err(),
            ] {
                assert_eq!(code(&refused), "57P01");
            }
            batch.parse("", "SELECT 1").bind("").execute().sync().send().await;
            let answer = batch.receive().await;
            assert_eq!((answer.tag, answer.code().as_str()), ('E', "57P01"));
            assert_eq!(batch.try_receive().await, None);
            transaction.batch_execute("UPDATE kept SET n = n + 1").await.unwrap();
            assert_eq!(control.look().databases[0].leased, 1);
            transaction.commit().await.unwrap();
        };
        tokio::join!(control.drain(), rest);
    };
    let (_, waited, ()) = tokio::join!(paused, waits, order);
    assert_eq!(code(&waited.unwrap_err()), "57P01");
    assert_eq!(control.look().servers.len(), 0);
    for session in [&idle, &queued, &listener] {
        testkit::wait_until(SOON, || session.is_closed()).await;
    }
    let direct = testkit::connect(&fixture.database.url()).await;
    let row = direct.query_one("SELECT n FROM kept", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 8);
    drop((busy, direct));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_observe_end_by_themselves_and_none_begins() {
    let fixture = Fixture::start(Mode::Observe).await;
    let control = fixture.proxy.control();
    let first = fixture.connect().await;
    let rest = async {
        testkit::wait_until(SOON, || control.is_paused()).await;
        let refused = tokio_postgres::connect(&fixture.url(), tokio_postgres::NoTls).await;
        assert_eq!(code(&refused.err().unwrap()), "57P01");
        first.batch_execute("SELECT 1").await.unwrap();
        drop(first);
    };
    tokio::join!(control.drain(), rest);
    fixture.end().await;
}
