package broadcastdebug

import (
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"strconv"
	"time"

	"github.com/fbd86cad/broadcast"
)

//go:embed page.html
var text string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"number": number,
	"share":  share,
	"ago":    ago,
	"query":  func(chat string) string { return "?chat=" + url.QueryEscape(chat) },
	"round":  func(d time.Duration) time.Duration { return d.Round(time.Millisecond) },
	"class":  class,
	"bytes":  bytes,
	"per":    per,
	"closed": closed,
}).Parse(text))

// number returns a number with a thin space between each three digits.
func number(n any) string {
	var digits string
	switch n := n.(type) {
	case int:
		digits = strconv.Itoa(n)
	case uint64:
		digits = strconv.FormatUint(n, 10)
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

// share returns how much of its buffer is full, in percent.
func share(i broadcast.SubscriptionInfo) int {
	return int(min(100, 100*i.Pending/uint64(max(1, i.Buffer))))
}

// ago returns how long before now something was.
func ago(now, then time.Time) string {
	if then.IsZero() {
		return "–"
	}
	return now.Sub(then).Round(time.Second).String()
}

// class returns the class of a state in the style sheet.
func class(state string) string {
	switch state {
	case "losing", "blocking":
		return "bad"
	case "slow", "full", "draining":
		return "warn"
	}
	return "good"
}

// bytes returns a number of bytes in the unit that makes it short.
func bytes(n uint64) string {
	if n < 1000 {
		return fmt.Sprint(n, " B")
	}
	value, unit := float64(n)/1000, 0
	for ; value >= 999.5; unit++ { // which would be shown as 1e+03
		value /= 1000
	}
	return fmt.Sprintf("%.3g %cB", value, "kMGTPE"[unit])
}

// per returns n divided by others, with one decimal.
func per(n, others uint64) string { return fmt.Sprintf("%.1f", float64(n)/float64(max(1, others))) }

// closed returns the counts that are not zero.
func closed(counts map[string]uint64) map[string]uint64 {
	counts = maps.Clone(counts)
	maps.DeleteFunc(counts, func(_ string, n uint64) bool { return n == 0 })
	return counts
}
