// Package docs checks that what the documents name exists: commands and their flags, metrics, reasons of Events,
// alerts, values of the chart, targets of make, files and sections.
//
// It does not decide whether what they say is true; the other tests do.
package docs
