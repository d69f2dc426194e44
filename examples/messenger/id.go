package main

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/fbd86cad/broadcast"
)

// id is the number of a chat, a device or a person: 1 to maxID.
type id int64

// maxID is the largest integer that JavaScript's numbers hold exactly.
const maxID = 1<<53 - 1

func (n id) valid() bool { return n >= 1 && n <= maxID }

// String returns the number as the library's name for the chat or device.
func (n id) String() string { return strconv.FormatInt(int64(n), 10) }

func badID(field string) error {
	return refuse(http.StatusBadRequest, field, "%s must be one integer from 1 to %d", field, int64(maxID))
}

// queryID returns the id that a query gives exactly once.
func queryID(query url.Values, field string) (id, error) {
	values := query[field]
	if len(values) != 1 {
		return 0, badID(field)
	}
	n, err := strconv.ParseUint(values[0], 10, 53)
	if err != nil || n == 0 {
		return 0, badID(field)
	}
	return id(n), nil
}

// queryPosition returns the position that a query gives at most once: none is the zero position, as is an empty one.
func queryPosition(query url.Values, field string) (p broadcast.Position, err error) {
	values := query[field]
	if len(values) == 0 {
		return p, nil
	}
	if len(values) > 1 || p.UnmarshalText([]byte(values[0])) != nil {
		return p, refuse(http.StatusBadRequest, field, "%s must be one position, as it came with a message", field)
	}
	return p, nil
}

// queryFlag tells whether a query gives a field, which can have only this value.
func queryFlag(query url.Values, field, value string) (bool, error) {
	values := query[field]
	if len(values) > 1 || len(values) == 1 && values[0] != value {
		return false, refuse(http.StatusBadRequest, field, "%s can only be %s", field, value)
	}
	return len(values) == 1, nil
}
