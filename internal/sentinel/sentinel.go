// Package sentinel has the errors of this module's packages that package process cannot name, since they are not below it and
// not in every program: by it errors.Is finds them also in an error of another process.
package sentinel

import (
	"fmt"
	"maps"
	"sync"
)

var table struct {
	sync.Mutex
	by map[string]error
}

// Add names an error; the name is its package's and its own. It is for the initialisation of packages.
func Add(name string, err error) struct{} {
	table.Lock()
	defer table.Unlock()
	if table.by == nil {
		table.by = make(map[string]error)
	}
	if table.by[name] != nil {
		panic(fmt.Errorf("sentinel: two are called %q", name))
	}
	table.by[name] = err
	return struct{}{}
}

// Find is the error with that name, nil if this program does not have it.
func Find(name string) error {
	table.Lock()
	defer table.Unlock()
	return table.by[name]
}

// All are the errors by name.
func All() map[string]error {
	table.Lock()
	defer table.Unlock()
	return maps.Clone(table.by)
}
