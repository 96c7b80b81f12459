-- 0012_package_labels: packages whose SSCC is none keep what the warehouse gave, for search; when that was noticed.
ALTER TABLE shipment_packages ADD COLUMN label_wrong_at timestamptz;
CREATE INDEX shipment_packages_wrong ON shipment_packages (label_wrong_at) WHERE label_wrong_at IS NOT NULL;
