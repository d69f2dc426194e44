package broadcastdebug

import (
	_ "embed"
	"html/template"
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
