//go:build tools

// Package clients pins the CRI clients that drive berth in tests: crictl and critest, both from cri-tools.
// Nothing in this file is compiled; the imports keep what `make` builds in go.mod and go.sum.
package clients

import (
	_ "sigs.k8s.io/cri-tools/cmd/crictl"

	// critest is a test binary of a package without importable code: these are what its test file imports.
	_ "github.com/onsi/ginkgo/v2"
	_ "github.com/onsi/gomega"
	_ "sigs.k8s.io/cri-tools/pkg/benchmark"
	_ "sigs.k8s.io/cri-tools/pkg/common"
	_ "sigs.k8s.io/cri-tools/pkg/framework"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)
