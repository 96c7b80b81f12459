"""The books of the demonstration's company: currencies, chart of accounts, fiscal years, taxes, payment terms."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from crossdock.sandbox.tryton.rpc import Rpc
from crossdock.sandbox.world import GBP_PER_EUR, TAX_CODES, UNTAXED_CODES

YEARS: Final = (2025, 2026, 2027, 2028)
TERM_DAYS: Final = (14, 30, 60)
CARD_PAYMENTS: Final = "Card payments"
PROVIDER_ACCOUNT: Final = "Payment provider, not yet paid out"


@dataclass(frozen=True, slots=True)
class Books:
    company: int
    currencies: Mapping[str, int]
    taxes: Mapping[str, int]
    terms: Mapping[int, int]
    tax_rules: Mapping[str, int]
    revenue: int
    expense: int


async def seed_books(rpc: Rpc, say: Callable[[str], None]) -> Books:
    say("tryton: company and chart of accounts")
    currencies = await _currencies(rpc)
    company = await _company(rpc, currencies["EUR"])
    await rpc.call("model.res.user.set_preferences", {"company": company})
    rpc.context = {**rpc.context, "company": company}
    await _chart(rpc, company)
    revenue = await rpc.find_one("account.account", ("type.revenue", "=", True), ("closed", "!=", True))
    expense = await rpc.find_one("account.account", ("type.expense", "=", True), ("closed", "!=", True))
    say("tryton: fiscal years, taxes, payment terms")
    await _fiscal_years(rpc, company)
    taxes = await _taxes(rpc, company)
    rules = {
        "UK": await _tax_rule(rpc, company, taxes, "UK"), "reverse charge": await _untaxed_rule(rpc, company, taxes),
    }  # fmt: skip
    terms = await _terms(rpc)
    await rpc.call("model.account.configuration.write", [1], {
        "tax_rounding": "line",
        # Where the cents go that an invoice in another currency does not come out even by.
        "currency_exchange_credit_account": revenue, "currency_exchange_debit_account": expense,
    })  # fmt: skip
    await _payment_method(rpc, company)
    await rpc.call("model.sale.configuration.write", [1], {
        "sale_invoice_method": "fulfillment", "sale_shipment_method": "order",
    })  # fmt: skip
    await _plain_invoice_form(rpc)
    return Books(company, currencies, taxes, terms, rules, revenue, expense)


async def _payment_method(rpc: Rpc, company: int) -> None:
    """What the payment provider captured and has not yet paid out, in a journal and on an account of its own."""
    if await rpc.find("account.invoice.payment.method", ("name", "=", CARD_PAYMENTS)):
        return
    cash = await rpc.find("account.account", ("name", "=", "Cash and Cash Equivalents"), ("type", "!=", None))
    row = (await rpc.call("model.account.account.read", cash[:1], ["type", "parent"]))[0]
    known = await rpc.find("account.account", ("name", "=", PROVIDER_ACCOUNT))
    account = (known or await rpc.create("account.account", [{
        "name": PROVIDER_ACCOUNT, "company": company, "type": row["type"], "parent": row["parent"], "reconcile": True,
    }]))[0]  # fmt: skip
    journal = await rpc.find("account.journal", ("name", "=", CARD_PAYMENTS))
    journal = journal or await rpc.create("account.journal", [{"name": CARD_PAYMENTS, "code": "CARD", "type": "cash"}])
    await rpc.create("account.invoice.payment.method", [{
        "name": CARD_PAYMENTS, "company": company, "journal": journal[0], "debit_account": account,
        "credit_account": account,
    }])  # fmt: skip


async def _plain_invoice_form(rpc: Rpc) -> None:
    """A short text instead of the office document: laying that out took Tryton two seconds for every posting."""
    form = await rpc.find("ir.action.report", ("report_name", "=", "account.invoice"))
    text = base64.b64encode(b"Invoice ${record.number}\n").decode()
    await rpc.call("model.ir.action.report.write", form, {
        "template_extension": "txt", "extension": "", "translatable": False,
        "report_content_custom": {"__class__": "bytes", "base64": text},
    })  # fmt: skip


async def _currencies(rpc: Rpc) -> dict[str, int]:
    found = {}
    for code, name, symbol, rate in (("EUR", "Euro", "€", Decimal(1)), ("GBP", "Pound Sterling", "£", GBP_PER_EUR)):
        existing = await rpc.find("currency.currency", ("code", "=", code))
        found[code] = (existing or await rpc.create("currency.currency", [{
            "name": name, "code": code, "symbol": symbol, "rounding": Decimal("0.01"), "digits": 2,
            "rates": [("create", [{"date": date(2025, 1, 1), "rate": rate}])],
        }]))[0]  # fmt: skip
    return found


async def _company(rpc: Rpc, euro: int) -> int:
    existing = await rpc.find("company.company")
    if existing:
        return existing[0]
    party = (await rpc.create("party.party", [{"name": "Nordhafen Supply", "code": "NORDHAFEN"}]))[0]
    company = (await rpc.create("company.company", [{"party": party, "currency": euro}]))[0]
    user = await rpc.find_one("res.user", ("login", "=", "admin"))
    await rpc.call("model.res.user.write", [user], {"companies": [("add", [company])], "company": company})
    return company


async def _chart(rpc: Rpc, company: int) -> None:
    """Tryton's universal chart through its own wizard."""
    if not await rpc.find("account.account"):
        template = await rpc.find_one("account.account.template", ("parent", "=", None))
        wizard, *_ = await rpc.call("wizard.account.create_chart.create")
        data = {"account": {"company": company, "account_template": template}}
        await rpc.call("wizard.account.create_chart.execute", wizard, data, "create_account")
        await rpc.call("wizard.account.create_chart.delete", wizard)
    receivable = await rpc.find_one("account.account", ("type.receivable", "=", True), ("closed", "!=", True))
    payable = await rpc.find_one("account.account", ("type.payable", "=", True), ("closed", "!=", True))
    await rpc.call("model.account.configuration.write", [1], {
        "default_account_receivable": receivable, "default_account_payable": payable,
    })  # fmt: skip


async def _fiscal_years(rpc: Rpc, company: int) -> None:
    invoice_type = await _sequence_type(rpc, "Invoice")
    move_type = await _sequence_type(rpc, "Account Move")
    for year in YEARS:
        if await rpc.find("account.fiscalyear", ("name", "=", str(year))):
            continue
        moves = (await rpc.create("ir.sequence.strict", [{
            "name": f"Journal {year}", "sequence_type": move_type, "company": company, "prefix": f"M{year}-",
        }]))[0]  # fmt: skip
        invoices = (await rpc.create("ir.sequence.strict", [{
            "name": f"Invoice {year}", "sequence_type": invoice_type, "company": company, "prefix": f"INV{year}-",
        }]))[0]  # fmt: skip
        of_year = {
            "company": company, "in_invoice_sequence": invoices, "in_credit_note_sequence": invoices,
            "out_invoice_sequence": invoices, "out_credit_note_sequence": invoices,
        }  # fmt: skip
        created = await rpc.create("account.fiscalyear", [{
            "name": str(year), "start_date": date(year, 1, 1), "end_date": date(year, 12, 31), "company": company,
            "move_sequence": moves, "invoice_sequences": [("create", [of_year])],
        }])  # fmt: skip
        await rpc.call("model.account.fiscalyear.create_period", created)


async def _sequence_type(rpc: Rpc, name: str) -> int:
    return await rpc.find_one("ir.sequence.type", ("name", "=", name))


async def _taxes(rpc: Rpc, company: int) -> dict[str, int]:
    account = await rpc.find_one(
        "account.account", ("name", "ilike", "%tax%"), ("closed", "!=", True), ("type", "!=", None)
    )
    found = {}
    untaxed = [(code, Decimal(0)) for code in UNTAXED_CODES.values()]
    for code, rate in (*TAX_CODES.values(), *untaxed):
        existing = await rpc.find("account.tax", ("name", "=", code))
        found[code] = (existing or await rpc.create("account.tax", [{
            "name": code, "description": code, "type": "percentage", "rate": rate, "company": company,
            "invoice_account": account, "credit_note_account": account,
        }]))[0]  # fmt: skip
    return found


async def _tax_rule(rpc: Rpc, company: int, taxes: Mapping[str, int], region: str) -> int:
    """Products carry the home region's taxes; this rule gives a customer of another region that region's."""
    existing = await rpc.find("account.tax.rule", ("name", "=", region))
    if existing:
        return existing[0]
    lines = [
        {"origin_tax": taxes[code], "tax": taxes[TAX_CODES[region, category][0]]}
        for (home, category), (code, _) in TAX_CODES.items() if home == "EU"
    ]  # fmt: skip
    return await _create_rule(rpc, company, region, lines)


async def _untaxed_rule(rpc: Rpc, company: int, taxes: Mapping[str, int]) -> int:
    """For customers elsewhere in the Union, who owe the tax themselves."""
    existing = await rpc.find("account.tax.rule", ("name", "=", "reverse charge"))
    if existing:
        return existing[0]
    untaxed = taxes[UNTAXED_CODES["reverse_charge"]]
    lines = [{"origin_tax": taxes[code], "tax": untaxed} for (home, _), (code, _) in TAX_CODES.items() if home == "EU"]
    return await _create_rule(rpc, company, "reverse charge", lines)


async def _create_rule(rpc: Rpc, company: int, name: str, lines: list[dict[str, int]]) -> int:
    rows = [{"name": name, "kind": "sale", "company": company, "lines": [("create", lines)]}]
    return (await rpc.create("account.tax.rule", rows))[0]


async def _terms(rpc: Rpc) -> dict[int, int]:
    found = {}
    for days in TERM_DAYS:
        name = f"{days} days"
        existing = await rpc.find("account.invoice.payment_term", ("name", "=", name))
        found[days] = (existing or await rpc.create("account.invoice.payment_term", [{
            "name": name, "lines": [("create", [{
                "type": "remainder", "relativedeltas": [("create", [{"days": days}])],
            }])],
        }]))[0]  # fmt: skip
    return found
