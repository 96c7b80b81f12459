-- Where channels divide stock between them, a figure may only grow into what no other channel may still be showing.
-- `wanted_base` is the wanted figure in base units; `exposed` the largest of all that were wanted since the channel last
-- acknowledged the newest: the most it can show, whichever of them reached it.
ALTER TABLE publications ADD COLUMN wanted_base numeric NOT NULL DEFAULT 0;
ALTER TABLE publications ADD COLUMN exposed numeric NOT NULL DEFAULT 0;
-- Until they are counted anew: the figure as it stands, in the listing's unit.
UPDATE publications SET wanted_base = wanted, exposed = greatest(wanted, coalesce(acknowledged, 0), coalesce(sent, 0));
