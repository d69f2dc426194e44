package httpjson

import (
	"net/url"
	"strconv"
)

// ID is the number of a chat, a device or a person: 1 to [MaxID].
type ID int64

// MaxID is the largest integer that JavaScript's numbers hold exactly.
const MaxID = 1<<53 - 1

// String returns the number as the library's name for the chat or the device.
func (n ID) String() string { return strconv.FormatInt(int64(n), 10) }

// parseID parses a number as JSON and queries write it: digits and nothing else.
func parseID(field, text string) (ID, error) {
	n, err := strconv.ParseUint(text, 10, 53)
	if err != nil || n == 0 {
		return 0, Bad(field, "%s must be one integer from 1 to %d", field, int64(MaxID))
	}
	return ID(n), nil
}

// QueryID returns an ID from a query, which must have it exactly once, or an [Error] with 400.
func QueryID(query url.Values, field string) (ID, error) {
	if len(query[field]) > 1 {
		return 0, Bad(field, "%s is given twice; it must be one integer from 1 to %d", field, int64(MaxID))
	}
	return parseID(field, query.Get(field))
}

// Query returns a value from a query, which may have it at most once, or an [Error] with 400. The
// value is empty if it is absent.
func Query(query url.Values, field string) (string, error) {
	if len(query[field]) > 1 {
		return "", Bad(field, "%s is given twice", field)
	}
	return query.Get(field), nil
}
