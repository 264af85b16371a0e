//! The orders, and the clients that start their workflows.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use exactly_once::{
    AccountId, Amount, BalanceStore, IdempotencyKey, OpenAccount, sqlite::SqliteStore,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use temporalio_client::{
    Client, WorkflowGetResultOptions, WorkflowStartOptions,
    errors::{WorkflowGetResultError, WorkflowStartError},
};
use tokio::{task::JoinSet, time::Instant};

use super::DemoOptions;
use crate::{
    audit::Asked,
    model::{Answer, LIMIT, MERCHANT, Order},
    shop::Shop,
    worker::{QUEUE, connect},
};

const CUSTOMERS: usize = 20;
/// How many clients there are, each with one order at a time.
const CLIENTS: usize = 24;
/// A workflow that ends takes seconds, also beside kills; one that is stuck takes for ever.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long one call of the server may take: a killed one must not keep a client waiting.
const CALL: Duration = Duration::from_secs(20);

/// What each account holds before the load. The last customer has next to nothing.
pub(super) fn opening() -> BTreeMap<String, i64> {
    let mut opening: BTreeMap<_, _> = (0..CUSTOMERS)
        .map(|number| (format!("customer-{number:02}"), 100_000_000))
        .collect();
    opening.insert("customer-poor".to_owned(), 100);
    opening.insert(MERCHANT.to_owned(), 0);
    opening
}

/// Opens the accounts.
pub(super) async fn open_accounts(
    bank: &SqliteStore,
    opening: &BTreeMap<String, i64>,
) -> Result<()> {
    for (account, cents) in opening {
        let key = IdempotencyKey::new(format!("open/{account}"))?;
        let open = OpenAccount::new(key, AccountId::new(account.as_str())?);
        bank.open_account(&open.with_amount(Amount::new(*cents)))
            .await?;
    }
    Ok(())
}

/// One in five ships, one in twenty is refused.
pub(super) fn orders(options: &DemoOptions) -> Vec<Order> {
    let mut random = StdRng::seed_from_u64(options.seed);
    (0..options.payments)
        .map(|number| {
            let customer = random.random_range(0..CUSTOMERS);
            let refused = random.random_range(0..40);
            Order {
                name: format!("order-{number:05}"),
                customer: match refused {
                    0 => "customer-poor".to_owned(),
                    _ => format!("customer-{customer:02}"),
                },
                cents: match refused {
                    0 => 500,
                    1 => LIMIT + 1,
                    _ => random.random_range(1..=LIMIT),
                },
                ships: random.random_range(0..5) == 0,
                recipe: options.recipe,
            }
        })
        .collect()
}

/// Starts each order's workflow and waits for its result.
pub(super) async fn send(
    url: &str,
    orders: Vec<Order>,
    done: &Arc<AtomicUsize>,
) -> Result<Vec<Asked>> {
    let client = connect(url).await?;
    let orders = Arc::new(std::sync::Mutex::new(orders.into_iter()));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, orders, done) = (client.clone(), orders.clone(), done.clone());
        clients.spawn(async move {
            let mut asked = Vec::new();
            while let Some(order) = orders.lock().ok().and_then(|mut orders| orders.next()) {
                let deadline = Instant::now() + PATIENCE;
                let answer = tokio::time::timeout_at(deadline, ask(&client, &order)).await;
                let answer = answer.unwrap_or_else(|_| Err("no answer".to_owned()));
                asked.push((order, answer));
                done.fetch_add(1, Ordering::Relaxed);
            }
            asked
        });
    }
    Ok(clients.join_all().await.into_iter().flatten().collect())
}

/// Asks until there is an answer: the workflow's id is the order's name, so a second start of one is
/// none.
async fn ask(client: &Client, order: &Order) -> Result<Answer, String> {
    loop {
        let options = WorkflowStartOptions::new(QUEUE, &order.name).build();
        let start = client.start_workflow(Shop::run, order.clone(), options);
        match tokio::time::timeout(CALL, start).await {
            Ok(Ok(_) | Err(WorkflowStartError::AlreadyStarted { .. })) => break,
            Ok(Err(WorkflowStartError::Rpc(_))) | Err(_) => {}
            Ok(Err(error)) => return Err(error.to_string()),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    loop {
        let handle = client.get_workflow_handle::<Shop>(&order.name);
        let result = handle.get_result(WorkflowGetResultOptions::default());
        match tokio::time::timeout(CALL, result).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(WorkflowGetResultError::Rpc(_))) | Err(_) => {}
            Ok(Err(error)) => return Err(format!("{error}: {error:?}")),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
