//! What the tests share: a shop on Postgres and SQLite, `serve` in front of it, and calls through the
//! ingress.

use std::{path::PathBuf, process::Output};

use exactly_once_servers::{Port, Postgres, Restate, Service, launch::Launch};
use serde_json::Value;
use tempfile::TempDir;

/// The file that most tests serve.
pub(crate) const SHOP: &str = r#"
service = "ShopDb"
docs = "The shop's databases."
register = "ledger"
max_body_bytes = 4096

[stores.ledger]
url_env = "LEDGER_URL"
namespace = "shop"
pool_size = 4

[stores.stock]
url_env = "STOCK_URL"

[accounts]
store = "stock"

[effects.charge]
docs = "Takes a payment."
store = "ledger"
parameters = { order = "text", cents = "int8", note = "text?" }
sql = "INSERT INTO payment (order_name, cents, note) VALUES (:order, :cents, :note) RETURNING id, paid_at"
returns = { id = "int8", paid_at = "timestamptz" }
answer = "row"

[effects.take]
store = "stock"
parameters = { order = "text", item = "text" }
[[effects.take.statements]]
sql = "UPDATE stock SET pieces = pieces - 1 WHERE item = :item AND pieces > 0"
rows = 1
[[effects.take.statements]]
sql = "INSERT INTO taken (order_name, item) VALUES (:order, :item)"

[effects.settle]
docs = "Marks every payment of an order, and answers with each."
store = "ledger"
parameters = { order = "text" }
sql = "UPDATE payment SET settled = true WHERE order_name = :order RETURNING id, settled, fee, tags"
returns = { id = "int8", settled = "bool", fee = "numeric", tags = "jsonb?" }

[effects.book]
store = "ledger"
parameters = { order = "text", cents = "int8" }
sql = "INSERT INTO payment (order_name, cents) VALUES (:order, :cents)"

[effects.slow]
store = "ledger"
parameters = { order = "text" }
sql = "INSERT INTO payment (order_name, cents) SELECT :order, 1 FROM pg_sleep(1.5)"

[effects.stocked]
store = "stock"
parameters = { item = "text", open = "bool", about = "json?" }
sql = "INSERT INTO shelf (item, open, about) VALUES (:item, :open, :about) RETURNING id, open, about"
returns = { id = "int8", open = "bool", about = "json?" }
answer = "optional"

[transactions.order]
docs = "The payment and the piece, both or neither."
effects = ["book", "take"]

[queries.payments]
store = "ledger"
parameters = { order = "text" }
sql = "SELECT id, cents FROM payment WHERE order_name = :order ORDER BY id"
returns = { id = "int8", cents = "int8" }

[queries.piece]
store = "stock"
parameters = { item = "text" }
sql = "SELECT item, pieces FROM stock WHERE item = :item"
returns = { item = "text", pieces = "int8" }
answer = "row"
"#;

/// The databases of the shop.
pub(crate) struct Shop {
    pub(crate) postgres: Postgres,
    pub(crate) folder: TempDir,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let postgres = Postgres::options(18).trusting().start().await.unwrap();
        let shop = Self {
            postgres,
            folder: tempfile::tempdir().unwrap(),
        };
        let client = shop.client().await;
        client
            .batch_execute(
                "CREATE TABLE payment (
                   id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_name text NOT NULL,
                   cents int8 NOT NULL CHECK (cents > 0), note text,
                   paid_at timestamptz NOT NULL DEFAULT now(), settled bool NOT NULL DEFAULT false,
                   fee numeric NOT NULL DEFAULT 12345678901234567890.10, tags jsonb)",
            )
            .await
            .unwrap();
        shop.sqlite()
            .execute_batch(
                "PRAGMA journal_mode = WAL;
                 CREATE TABLE stock (item TEXT PRIMARY KEY, pieces INTEGER NOT NULL) STRICT;
                 CREATE TABLE taken (order_name TEXT NOT NULL, item TEXT NOT NULL) STRICT;
                 CREATE TABLE shelf (id INTEGER PRIMARY KEY, item TEXT NOT NULL,
                   open INTEGER NOT NULL, about TEXT) STRICT;
                 INSERT INTO stock VALUES ('apple', 2), ('bread', 0);",
            )
            .unwrap();
        shop
    }

    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        let url = self.postgres.url();
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }

    pub(crate) fn stock(&self) -> PathBuf {
        self.folder.path().join("stock.sqlite")
    }

    pub(crate) fn sqlite(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.stock()).unwrap()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("effects.toml")
    }

    pub(crate) fn write(&self, file: &str) {
        std::fs::write(self.file(), file).unwrap();
    }

    /// How many payments there are of an order.
    pub(crate) async fn payments(&self, order: &str) -> i64 {
        let count = "SELECT count(*) FROM payment WHERE order_name = $1";
        let row = self.client().await.query_one(count, &[&order]).await;
        row.unwrap().get(0)
    }

    pub(crate) fn taken(&self, order: &str) -> i64 {
        let count = "SELECT count(*) FROM taken WHERE order_name = ?1";
        let db = self.sqlite();
        db.query_row(count, [order], |row| row.get(0)).unwrap()
    }

    fn launch(&self, ledger: &str) -> Launch {
        Launch::new(env!("CARGO_BIN_EXE_exactly-once"), self.folder.path())
            .variable("LEDGER_URL", ledger)
            .variable("STOCK_URL", format!("sqlite:{}", self.stock().display()))
            .variable("RUST_LOG", "info")
            .argument("serve")
            .argument("--config")
            .argument(self.file())
    }

    /// Runs `serve` to its end, with more arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        std::process::Command::new(env!("CARGO_BIN_EXE_exactly-once"))
            .arg("serve")
            .arg("--config")
            .arg(self.file())
            .args(arguments)
            .env("LEDGER_URL", self.postgres.url())
            .env("STOCK_URL", format!("sqlite:{}", self.stock().display()))
            .output()
            .unwrap()
    }
}

/// `serve` before a Restate server.
pub(crate) struct Served {
    pub(crate) shop: Shop,
    pub(crate) restate: Restate,
    pub(crate) serve: Service,
    pub(crate) admin: String,
    http: reqwest::Client,
    _port: Port,
}

impl Served {
    pub(crate) async fn start(file: &str) -> Self {
        let shop = Shop::open().await;
        let ledger = shop.postgres.url();
        Self::over(shop, file, &ledger).await
    }

    /// With Postgres at another URL: through a proxy.
    pub(crate) async fn over(shop: Shop, file: &str, ledger: &str) -> Self {
        let restate = Restate::start().await.unwrap();
        Self::before(shop, file, ledger, restate).await
    }

    /// With this Restate server.
    pub(crate) async fn before(shop: Shop, file: &str, ledger: &str, restate: Restate) -> Self {
        shop.write(file);
        let port = Port::reserve().unwrap();
        let admin = format!("127.0.0.1:{}", port.number());
        let launch = shop.launch(ledger).argument("--admin").argument(&admin);
        let serve = Service::start_with(launch, "--listen").await.unwrap();
        restate.register(&serve.url()).await.unwrap();
        Self {
            shop,
            restate,
            serve,
            admin: format!("http://{admin}"),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            _port: port,
        }
    }

    /// The status, and the answer or the message.
    pub(crate) async fn raw(&self, path: &str, body: &str) -> (u16, Value) {
        let url = format!("{}/restate/call/{path}", self.restate.ingress_url());
        let mut request = self.http.post(url);
        // No input is no content type either.
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let answer = request.body(body.to_owned()).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (status, value)
    }

    /// Calls a handler of the service, which must answer.
    pub(crate) async fn call(&self, handler: &str, body: Value) -> Value {
        let (status, answer) = self
            .raw(&format!("ShopDb/{handler}"), &body.to_string())
            .await;
        assert_eq!(status, 200, "{handler} {body}: {answer}");
        answer
    }

    /// Calls a handler of the service, which must refuse; gives the status and the message.
    pub(crate) async fn refused(&self, handler: &str, body: &str) -> (u16, String) {
        let (status, answer) = self.raw(&format!("ShopDb/{handler}"), body).await;
        assert_ne!(status, 200, "{handler} {body}: {answer}");
        let message = answer["message"].as_str().unwrap_or_default().to_owned();
        (status, message)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.http.get(format!("{}{path}", self.admin)).send().await;
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The lines of the log, each a JSON object.
    pub(crate) fn log(&self) -> Vec<Value> {
        let log = self.serve.log();
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}
