-- name: sales
SELECT s.id, s.number, s.reference, s.description, s.state, s.shipment_state, s.invoice_state, p.code AS party, c.code AS currency,
       s.untaxed_amount_cache::text AS untaxed, s.tax_amount_cache::text AS tax, s.total_amount_cache::text AS total,
       coalesce((SELECT json_agg(json_build_object(
           'id', l.id, 'product', pr.code, 'quantity', l.quantity, 'unit', u.symbol, 'unit_price', l.unit_price::text,
           'amount', round(l.unit_price * l.quantity::numeric, 2)::text) ORDER BY l.sequence NULLS FIRST, l.id)
         FROM sale_line l JOIN product_product pr ON pr.id = l.product JOIN product_uom u ON u.id = l.unit
         WHERE l.sale = s.id AND l.type = 'line'), '[]'::json) AS lines
FROM sale_sale s
JOIN party_party p ON p.id = s.party
JOIN currency_currency c ON c.id = s.currency
WHERE s.id > $1
ORDER BY s.id
LIMIT $2;

-- name: shipments
SELECT s.id, s.number, s.reference, s.state, w.code AS warehouse,
       coalesce((SELECT json_agg(json_build_object(
           'product', pr.code, 'quantity', m.quantity, 'unit', u.symbol, 'state', m.state, 'origin', m.origin)
           ORDER BY m.id)
         FROM stock_move m JOIN product_product pr ON pr.id = m.product JOIN product_uom u ON u.id = m.unit
         WHERE m.shipment = 'stock.shipment.out,' || s.id), '[]'::json) AS moves
FROM stock_shipment_out s
JOIN stock_location w ON w.id = s.warehouse
WHERE s.id > $1
ORDER BY s.id
LIMIT $2;

-- name: invoices
SELECT i.id, i.number, i.reference, i.state, p.code AS party, c.code AS currency,
       (SELECT coalesce(sum(round(l.unit_price * l.quantity::numeric, 2)), 0)::text
        FROM account_invoice_line l WHERE l.invoice = i.id AND l.type = 'line') AS untaxed,
       (SELECT coalesce(sum(t.amount), 0)::text FROM account_invoice_tax t WHERE t.invoice = i.id) AS tax,
       coalesce((SELECT json_agg(json_build_object(
           'product', pr.code, 'quantity', l.quantity, 'unit_price', l.unit_price::text, 'origin', l.origin)
           ORDER BY l.sequence NULLS FIRST, l.id)
         FROM account_invoice_line l LEFT JOIN product_product pr ON pr.id = l.product
         WHERE l.invoice = i.id AND l.type = 'line'), '[]'::json) AS lines
FROM account_invoice i
JOIN party_party p ON p.id = i.party
JOIN currency_currency c ON c.id = i.currency
WHERE i.id > $1 AND i.type = 'out'
ORDER BY i.id
LIMIT $2;

-- name: payments
SELECT m.id, m.number, m.description, m.state, i.reference, c.code AS currency, p.code AS party,
       coalesce(-l.amount_second_currency, l.credit - l.debit)::text AS amount,
       l.reconciliation IS NOT NULL AS reconciled
FROM account_move m
JOIN account_journal j ON j.id = m.journal AND j.type = 'cash'
JOIN account_invoice i ON m.origin = 'account.invoice,' || i.id
JOIN account_move_line l ON l.move = m.id AND l.account = i.account
JOIN party_party p ON p.id = i.party
JOIN currency_currency c ON c.id = i.currency
WHERE m.id > $1
ORDER BY m.id
LIMIT $2;
