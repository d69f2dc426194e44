package tui

import "slices"

// insert puts a name into a sorted list, once.
func insert(names []string, name string) []string {
	i, there := slices.BinarySearch(names, name)
	if there {
		return names
	}
	return slices.Insert(names, i, name)
}

// remove takes a name out of a sorted list.
func remove(names []string, name string) []string {
	i, there := slices.BinarySearch(names, name)
	if !there {
		return names
	}
	return slices.Delete(names, i, i+1)
}
