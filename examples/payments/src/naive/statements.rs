//! The naive service's SQL.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, params};

use crate::model::{Charge, MERCHANT, Receipt, Refund, TransferOrder};

pub(super) fn open(connection: &Connection, name: &str, first: i64) -> Result<()> {
    connection.execute(
        "INSERT INTO accounts (account, balance) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![name, first],
    )?;
    Ok(())
}

pub(super) fn balance(connection: &Connection, name: &str) -> Result<i64> {
    let sql = "SELECT balance FROM accounts WHERE account = ?1";
    Ok(connection.query_row(sql, [name], |row| row.get(0))?)
}

pub(super) fn paid(connection: &mut Connection, payment: String) -> Result<bool> {
    let sql = "SELECT count(*) FROM payments WHERE payment = ?1";
    let rows: i64 = connection.query_row(sql, [payment], |row| row.get(0))?;
    Ok(rows > 0)
}

/// `None`: insufficient funds.
pub(super) fn pay(connection: &Connection, charge: Charge) -> Result<Option<Receipt>> {
    if balance(connection, &charge.account)? < charge.amount {
        return Ok(None);
    }
    connection.execute(
        "INSERT INTO payments (payment, account, amount) VALUES (?1, ?2, ?3)",
        params![charge.payment, charge.account, charge.amount],
    )?;
    add(connection, MERCHANT, charge.amount)?;
    add(connection, &charge.account, -charge.amount)?;
    receipt(connection, charge.payment, charge.account, -charge.amount).map(Some)
}

/// `None`: there is no such payment, or it is refunded. A second attempt fails on the key.
pub(super) fn give_back(connection: &Connection, refund: Refund) -> Result<Option<Receipt>> {
    connection.execute(
        "INSERT INTO refunds (request, payment, account, amount) VALUES (?1, ?2, '', 0)",
        params![refund.request, refund.payment],
    )?;
    let found: Option<(String, i64)> = connection
        .query_row(
            "UPDATE payments SET refunded = 1 WHERE payment = ?1 AND refunded = 0 \
             RETURNING account, amount",
            [&refund.payment],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((account, amount)) = found else {
        connection.execute("DELETE FROM refunds WHERE request = ?1", [&refund.request])?;
        return Ok(None);
    };
    connection.execute(
        "UPDATE refunds SET account = ?2, amount = ?3 WHERE request = ?1",
        params![refund.request, account, amount],
    )?;
    add(connection, MERCHANT, -amount)?;
    add(connection, &account, amount)?;
    receipt(connection, refund.request, account, amount).map(Some)
}

pub(super) fn both(connection: &Connection, order: &TransferOrder) -> Result<(i64, i64)> {
    Ok((
        balance(connection, &order.from)?,
        balance(connection, &order.to)?,
    ))
}

/// `None`: another call changed one of the balances since, or so it seems.
pub(super) fn set(
    connection: &Connection,
    order: TransferOrder,
    (from, to): (i64, i64),
) -> Result<Option<Receipt>> {
    let now = both(connection, &order)?;
    if now != (from, to) {
        return Ok(None);
    }
    connection.execute(
        "INSERT INTO transfers (name, account, amount) VALUES (?1, ?2, ?3)",
        params![order.order, order.from, order.amount],
    )?;
    add(connection, &order.from, -order.amount)?;
    add(connection, &order.to, order.amount)?;
    receipt(connection, order.order, order.from, -order.amount).map(Some)
}

fn add(connection: &Connection, account: &str, delta: i64) -> Result<()> {
    connection.execute(
        "UPDATE accounts SET balance = balance + ?2 WHERE account = ?1",
        params![account, delta],
    )?;
    Ok(())
}

fn receipt(connection: &Connection, name: String, account: String, delta: i64) -> Result<Receipt> {
    let left = balance(connection, &account)?;
    Ok(Receipt {
        name,
        account,
        delta,
        left,
        version: 0,
    })
}
