// Package docs holds what the documents name against what there is: commands and their flags, metrics, reasons of
// Events, alerts, values of the chart, targets of make, files and sections.
//
// It does not decide whether what they say is true; the other tests do.
package docs
