// JDBC: prepared statements that become the server's, autocommit off, fetch size, COPY, batches.

import java.io.StringReader;
import java.io.StringWriter;
import java.net.URI;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;
import org.postgresql.core.BaseConnection;

public class App {
    static Connection connect(String... options) throws Exception {
        URI url = new URI(System.getenv("DATABASE_URL"));
        String[] login = url.getUserInfo().split(":");
        Properties properties = new Properties();
        properties.setProperty("user", login[0]);
        if (login.length > 1) {
            properties.setProperty("password", login[1]);
        }
        properties.setProperty("connectTimeout", "20");
        for (int i = 0; i < options.length; i += 2) {
            properties.setProperty(options[i], options[i + 1]);
        }
        String address = "jdbc:postgresql://" + url.getHost() + ":" + url.getPort() + url.getPath();
        return DriverManager.getConnection(address, properties);
    }

    static void ok(String what) {
        System.out.println("ok " + what);
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static long number(Connection connection, String query) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(query)) {
            rows.next();
            return rows.getLong(1);
        }
    }

    interface Body {
        void run() throws SQLException;
    }

    static void fails(String code, Body body) {
        try {
            body.run();
        } catch (SQLException error) {
            check(code.equals(error.getSQLState()), error.getSQLState() + ", not " + code);
            return;
        }
        throw new AssertionError("no error " + code);
    }

    static void run(Connection connection, String text) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(text);
        }
    }

    static void prepared(String threshold) throws Exception {
        try (Connection first = connect("prepareThreshold", threshold);
                Connection second = connect("prepareThreshold", threshold)) {
            String text = "SELECT ?::int * 2, ?::text";
            try (PreparedStatement one = first.prepareStatement(text);
                    PreparedStatement other = second.prepareStatement(text)) {
                for (int n = 0; n < 20; n++) {
                    for (PreparedStatement statement : new PreparedStatement[] {one, other}) {
                        statement.setInt(1, n);
                        statement.setString(2, "row " + n);
                        try (ResultSet rows = statement.executeQuery()) {
                            rows.next();
                            check(rows.getInt(1) == 2 * n, "the number");
                            check(rows.getString(2).equals("row " + n), "the text");
                        }
                    }
                }
            }
        }
        ok("server-side prepared statements, prepareThreshold=" + threshold);
    }

    static void transactions(Connection connection) throws Exception {
        connection.setAutoCommit(false);
        run(connection, "CREATE TABLE t (n int PRIMARY KEY, words text)");
        connection.commit();
        run(connection, "INSERT INTO t VALUES (1, 'one')");
        Savepoint point = connection.setSavepoint();
        fails("23505", () -> run(connection, "INSERT INTO t VALUES (1, 'again')"));
        fails("25P02", () -> run(connection, "SELECT 1"));
        connection.rollback(point);
        run(connection, "INSERT INTO t VALUES (2, 'two')");
        connection.commit();
        run(connection, "DELETE FROM t");
        connection.rollback();
        check(number(connection, "SELECT count(*) FROM t") == 2, "two rows");
        connection.commit();
        ok("autocommit off, savepoints, errors");
    }

    static void batch(Connection connection) throws Exception {
        try (PreparedStatement insert =
                connection.prepareStatement("INSERT INTO t VALUES (?, ?)")) {
            for (int n = 10; n < 1010; n++) {
                insert.setInt(1, n);
                insert.setString(2, "x".repeat(n));
                insert.addBatch();
            }
            check(insert.executeBatch().length == 1000, "the batch");
        }
        connection.commit();
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(50);
            try (ResultSet rows = statement.executeQuery("SELECT n, words FROM t WHERE n >= 10")) {
                int count = 0;
                while (rows.next()) {
                    check(rows.getString(2).length() == rows.getInt(1), "the words");
                    count++;
                }
                check(count == 1000, "all rows");
            }
        }
        connection.commit();
        ok("a batch, read back with a fetch size");
    }

    static void copy(Connection connection) throws Exception {
        connection.setAutoCommit(true);
        CopyManager copy = new CopyManager(connection.unwrap(BaseConnection.class));
        StringBuilder lines = new StringBuilder();
        for (int n = 5000; n < 9000; n++) {
            lines.append(n).append("\tcopied\n");
        }
        long copied = copy.copyIn("COPY t FROM STDIN", new StringReader(lines.toString()));
        check(copied == 4000, "copied in");
        StringWriter out = new StringWriter();
        copy.copyOut("COPY (SELECT * FROM t WHERE n >= 5000 ORDER BY n) TO STDOUT", out);
        check(out.toString().contentEquals(lines), "copied out");
        fails("22P02", () -> {
            try {
                copy.copyIn("COPY t FROM STDIN", new StringReader("no number\n"));
            } catch (java.io.IOException error) {
                throw new AssertionError(error);
            }
        });
        check(number(connection, "SELECT 1") == 1, "it goes on");
        ok("CopyManager");
    }

    static void cancel(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            fails("57014", () -> statement.execute("SELECT pg_sleep(100)"));
        }
        check(number(connection, "SELECT 3") == 3, "it goes on");
        ok("a query timeout cancels");
    }

    static void session() throws Exception {
        try (Connection connection = connect("ApplicationName", "jdbc.1",
                "options", "-c statement_timeout=30s", "readOnlyMode", "always")) {
            run(connection, "SET work_mem = '6MB'");
            run(connection, "CREATE TEMP TABLE mine AS SELECT generate_series(1, 7) AS n");
            check(number(connection, "SELECT count(*) FROM mine") == 7, "the temporary table");
            check(number(connection, "SELECT count(*) WHERE current_setting('work_mem') = '6MB'"
                + " AND current_setting('statement_timeout') = '30s'"
                + " AND current_setting('application_name') = 'jdbc.1'") == 1, "the settings");
            connection.setReadOnly(true);
            fails("25006", () -> run(connection, "CREATE TABLE forbidden (n int)"));
            connection.setReadOnly(false);
            connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            check(number(connection, "SELECT count(*) WHERE "
                + "current_setting('transaction_isolation') = 'serializable'") == 1, "isolation");
        }
        ok("what belongs to the session");
    }

    static void notifications() throws Exception {
        try (Connection listener = connect(); Connection other = connect()) {
            run(listener, "LISTEN jdbc");
            run(other, "NOTIFY jdbc, 'ping'");
            PGNotification[] heard = listener.unwrap(PGConnection.class).getNotifications(20000);
            check(heard != null && heard.length == 1, "one notification");
            check(heard[0].getParameter().equals("ping"), "its payload");
        }
        ok("notifications");
    }

    public static void main(String[] arguments) throws Exception {
        prepared("1");
        prepared("5");
        try (Connection connection = connect()) {
            transactions(connection);
            batch(connection);
            copy(connection);
            cancel(connection);
        }
        session();
        notifications();
    }
}
