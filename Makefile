# Run `make` for a list of targets. `make demo` and `make test` install the packages they need and change nothing else.
PYTHON = /usr/bin/python3
ISOLATED_ROOT = tests/support/isolated-root.sh

# Installation paths.
DESTDIR =
PACKAGES = /usr/lib/python3/dist-packages
LIBEXEC = /usr/lib/pam-iampass
BIN = /usr/bin
SBIN = /usr/sbin
SYSCONF = /etc
UNITS = /usr/lib
SHARE = /usr/share/pam-iampass
DOC = /usr/share/doc/pam-iampass
MAN = /usr/share/man
BASH_COMPLETIONS = /usr/share/bash-completion/completions
ZSH_COMPLETIONS = /usr/share/zsh/vendor-completions
FISH_COMPLETIONS = /usr/share/fish/vendor_completions.d
BUILD = build

# The pages that are installed, in the same folders as here: links between them work.
PAGES = README.md SECURITY.md CHANGELOG.md CONTRIBUTING.md docs tests/attacks.md bench/results.md bench/results.svg \
    packaging/ansible/README.md packaging/rpm/README.md

.PHONY: help demo check test test-long test-pythons mutants lint screenshots pictures bench sanitize fuzz man pages completions completions-gateway completions-portal install install-gateway install-portal account

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Show real ssh and sudo logins, approved or not (PHONE=1: you respond in a browser; FLEET=1: hosts of a gateway)
	@$(ISOLATED_ROOT) --check $(if $(FLEET),,--or-container)
	@tests/support/requirements.sh $(if $(FLEET),fleet-demo,demo)
	@$(ISOLATED_ROOT) $(if $(FLEET),,--or-container) $(if $(PHONE),--shared-network) $(if $(NO_COLOR),env NO_COLOR=1) \
	    $(PYTHON) -m $(if $(FLEET),tests.system.demo_fleet,tests.system.demo) $(if $(PHONE),--phone)

check: ## Run the tests that need neither root nor an installation, with the python3 of PATH
	@tests/check.sh

T =
K =
# Where tests need the browser or the pooler.
LONG = tests tests/ tests/browser% tests/gateway tests/gateway/ tests/gateway/test_pooler% tests/gateway/test_check%
test: ## Run the tests in isolated roots of this machine (T=PATH K=EXPRESSION: some, long ones too; COVERAGE=1: measure it)
	@$(ISOLATED_ROOT) --check --or-skip
	@tests/support/requirements.sh $(if $(filter $(LONG),$(or $(T),$(if $(K),tests))),test-long,test)
	@$(if $(T)$(K),$(ISOLATED_ROOT) --or-skip $(PYTHON) -m pytest -m "not (needs_booted_machine or needs_virtual_machine)" $(or $(T),tests) \
	    $(if $(K),-k '$(K)'),tests/run.sh)

test-long: ## Run whole scenarios, the tests in a browser, and those of promised bounds, in isolated roots
	@$(ISOLATED_ROOT) --check
	@tests/support/requirements.sh test-long
	@tests/run.sh --long

MUTANTS =
mutants: ## Break each guarantee in a copy of the code, and check that a test fails (MUTANTS='--part 1/5 --changed REVISION': some of them)
	@tests/support/requirements.sh test-long
	@$(PYTHON) -m tests.mutations.run $(MUTANTS)

PYTHONS =
test-pythons: ## Run the unit tests on all other Python versions from 3.9 on this machine (or on PYTHONS)
	@tests/support/requirements.sh test
	@tests/pythons.sh $(PYTHONS)

lint: ## Check style and types
	@tests/support/requirements.sh test
	@tests/lint.sh

screenshots: ## Recreate the screenshots in docs/images from a real login and the real phone page
	@tests/support/requirements.sh test-long
	@$(ISOLATED_ROOT) $(PYTHON) -m tests.browser.screenshots

pictures: ## Recreate the drawings in docs/images from their descriptions (needs Graphviz)
	for drawing in docs/images/*.dot; do dot -Tsvg "$$drawing" -o "$${drawing%.dot}.svg" || exit 1; done

bench: ## Measure doors, agent, user tables and logins; writes bench/results.* (QUICK=1: only show that it works)
	@tests/support/requirements.sh bench
	@$(ISOLATED_ROOT) $(PYTHON) -m bench.run $(if $(QUICK),--quick)

FUZZ_SECONDS = 60
sanitize: ## Run the native door's tests under the address and undefined behavior sanitizers
	@tests/support/requirements.sh test
	@$(ISOLATED_ROOT) $(MAKE) -s -C doors/native sanitize-test

fuzz: ## Fuzz both frame readers and what passkeys say, each for about FUZZ_SECONDS (60); run property tests with all their examples
	@tests/support/requirements.sh test
	$(MAKE) -C doors/native fuzz FUZZ_SECONDS=$(FUZZ_SECONDS) BUILD=$(abspath $(BUILD))/native
	FUZZ_EXAMPLES=$$(($(FUZZ_SECONDS) * 350)) $(PYTHON) -m pytest -q --timeout 0 tests/unit/agent/test_fuzz.py
	FUZZ_EXAMPLES=$$(($(FUZZ_SECONDS) * 100)) $(PYTHON) -m pytest -q --timeout 0 -m hypothesis tests/unit/gateway/test_webauthn.py
	$(PYTHON) -m pytest -q -m hypothesis --ignore tests/unit/agent/test_fuzz.py --ignore tests/unit/gateway/test_webauthn.py \
	    tests/unit tests/client

man: ## Write the man pages to build/man
	@rm -rf $(BUILD)/man
	$(PYTHON) -m tools.docs man $(BUILD)/man

pages: ## Write config/iampass.yaml, and the pages in docs/ that are made from descriptions and docstrings in the code
	$(PYTHON) -m tools.docs pages

completions: ## Write the completions for bash, zsh and fish to build/completions
	$(call write_completions,$(BUILD)/completions,_PAM_IAMPASS_COMPLETE,pam_iampass.cli)

completions-gateway:
	$(call write_completions,$(BUILD)/completions-gateway,_PAM_IAMPASS_GATEWAY_COMPLETE,pam_iampass.gateway.cli)

completions-portal:
	$(call write_completions,$(BUILD)/completions-portal,_PAM_IAMPASS_PORTAL_COMPLETE,pam_iampass.portal.cli)

define write_completions
	@mkdir -p $(1)
	for shell in bash zsh fish; do \
	    $(2)=$${shell}_source $(PYTHON) -m $(3) > $(1)/$$shell && [ -s $(1)/$$shell ] || exit 1; done
endef

# The rooms that hosts need not have: the gateway's package and the portal's have them.
OF_FLEETS = fleet gateway portal
install: man completions ## Install from source, below DESTDIR if set
	install -d $(DESTDIR)$(PACKAGES) $(DESTDIR)$(LIBEXEC) $(DESTDIR)$(BIN) $(DESTDIR)$(SBIN) $(DESTDIR)$(SYSCONF)/iampass \
	    $(DESTDIR)$(UNITS)/sysusers.d $(DESTDIR)$(UNITS)/tmpfiles.d \
	    $(DESTDIR)$(UNITS)/systemd/catalog $(DESTDIR)$(UNITS)/systemd/system \
	    $(DESTDIR)$(SHARE)/ansible $(DESTDIR)$(DOC) $(DESTDIR)$(MAN)/man1 $(DESTDIR)$(MAN)/man5 $(DESTDIR)$(MAN)/man8 \
	    $(DESTDIR)$(BASH_COMPLETIONS) $(DESTDIR)$(ZSH_COMPLETIONS) $(DESTDIR)$(FISH_COMPLETIONS)
	cp -R pam_iampass $(DESTDIR)$(PACKAGES)/
	cd $(DESTDIR)$(PACKAGES)/pam_iampass && rm -r $(OF_FLEETS)
	find $(DESTDIR)$(PACKAGES)/pam_iampass -name __pycache__ -prune -exec rm -r {} +
	$(PYTHON) -I -m compileall -q -d $(PACKAGES)/pam_iampass $(DESTDIR)$(PACKAGES)/pam_iampass
	chmod -R u=rwX,go=rX $(DESTDIR)$(PACKAGES)/pam_iampass
	for program in agent enforcer; do \
	    sed 's|@PACKAGES@|$(PACKAGES)|' doors/$$program.in > $(DESTDIR)$(LIBEXEC)/$$program && \
	    chmod 755 $(DESTDIR)$(LIBEXEC)/$$program && \
	    ln -sf $(LIBEXEC)/$$program $(DESTDIR)$(SBIN)/pam-iampass-$$program || exit 1; done
	install -m 644 doors/pam_python/pam_iampass.py $(DESTDIR)$(LIBEXEC)/
	$(MAKE) -C doors/native install BUILD=$(abspath $(BUILD))/native DESTDIR=$(DESTDIR)
	sed 's|@PACKAGES@|$(PACKAGES)|' doors/pam-iampass.in > $(DESTDIR)$(BIN)/pam-iampass
	chmod 755 $(DESTDIR)$(BIN)/pam-iampass
	for section in 1 5 8; do \
	    install -m 644 $(BUILD)/man/*.$$section $(DESTDIR)$(MAN)/man$$section/ || exit 1; done
	install -m 644 $(BUILD)/completions/bash $(DESTDIR)$(BASH_COMPLETIONS)/pam-iampass
	install -m 644 $(BUILD)/completions/zsh $(DESTDIR)$(ZSH_COMPLETIONS)/_pam-iampass
	install -m 644 $(BUILD)/completions/fish $(DESTDIR)$(FISH_COMPLETIONS)/pam-iampass.fish
	install -d $(DESTDIR)$(SHARE)/sshd_config.d
	install -m 644 config/sshd_config.d/* $(DESTDIR)$(SHARE)/sshd_config.d/
	cp -R packaging/ansible/roles $(DESTDIR)$(SHARE)/ansible/
	cp -R --parents $(PAGES) $(DESTDIR)$(DOC)/
	install -d $(DESTDIR)$(DOC)/examples
	install -m 644 packaging/prometheus/pam-iampass-hosts.rules.yaml $(DESTDIR)$(DOC)/examples/
	chmod -R u=rwX,go=rX $(DESTDIR)$(SHARE)/ansible $(DESTDIR)$(DOC)
	install -m 644 packaging/systemd/pam-iampass.sysusers $(DESTDIR)$(UNITS)/sysusers.d/pam-iampass.conf
	install -m 644 packaging/systemd/pam-iampass.tmpfiles $(DESTDIR)$(UNITS)/tmpfiles.d/pam-iampass.conf
	install -m 644 packaging/systemd/*.service packaging/systemd/*.socket \
	    packaging/systemd/*.path packaging/systemd/*.timer $(DESTDIR)$(UNITS)/systemd/system/
	install -m 644 packaging/systemd/pam_iampass.catalog $(DESTDIR)$(UNITS)/systemd/catalog/
	for file in iampass.yaml users.yaml; do \
	    [ -e $(DESTDIR)$(SYSCONF)/iampass/$$file ] || \
	    install -m 640 config/$$file $(DESTDIR)$(SYSCONF)/iampass/ || exit 1; done

GATEWAY_UNITS = packaging/systemd/gateway
# What the portal and the gateway say to each other: both need it.
CALLS_OF_THE_PORTAL = pam_iampass/portal/__init__.py pam_iampass/portal/calls.py
GATEWAY_EXAMPLES = /usr/share/doc/pam-iampass-gateway/examples
install-gateway: completions-gateway ## Install the gateway of a fleet from source, beside `make install`, below DESTDIR if set
	@rm -rf $(BUILD)/man-gateway
	$(PYTHON) -m tools.docs man --gateway $(BUILD)/man-gateway
	install -d $(DESTDIR)$(PACKAGES)/pam_iampass $(DESTDIR)$(BIN) $(DESTDIR)$(SYSCONF)/iampass-gateway \
	    $(DESTDIR)$(UNITS)/sysusers.d $(DESTDIR)$(UNITS)/systemd/system $(DESTDIR)$(MAN)/man1 $(DESTDIR)$(MAN)/man5 \
	    $(DESTDIR)$(GATEWAY_EXAMPLES) \
	    $(DESTDIR)$(BASH_COMPLETIONS) $(DESTDIR)$(ZSH_COMPLETIONS) $(DESTDIR)$(FISH_COMPLETIONS)
	cp -R pam_iampass/fleet pam_iampass/gateway $(DESTDIR)$(PACKAGES)/pam_iampass/
	cp --parents $(CALLS_OF_THE_PORTAL) $(DESTDIR)$(PACKAGES)/
	for folder in $(OF_FLEETS); do \
	    find $(DESTDIR)$(PACKAGES)/pam_iampass/$$folder -name __pycache__ -prune -exec rm -r {} + && \
	    $(PYTHON) -I -m compileall -q -d $(PACKAGES)/pam_iampass/$$folder $(DESTDIR)$(PACKAGES)/pam_iampass/$$folder && \
	    chmod -R u=rwX,go=rX $(DESTDIR)$(PACKAGES)/pam_iampass/$$folder || exit 1; done
	sed 's|@PACKAGES@|$(PACKAGES)|; s|pam_iampass.cli|pam_iampass.gateway.cli|' doors/pam-iampass.in \
	    > $(DESTDIR)$(BIN)/pam-iampass-gateway
	chmod 755 $(DESTDIR)$(BIN)/pam-iampass-gateway
	install -m 644 $(BUILD)/man-gateway/*.1 $(DESTDIR)$(MAN)/man1/
	install -m 644 $(BUILD)/man-gateway/*.5 $(DESTDIR)$(MAN)/man5/
	install -m 644 $(BUILD)/completions-gateway/bash $(DESTDIR)$(BASH_COMPLETIONS)/pam-iampass-gateway
	install -m 644 $(BUILD)/completions-gateway/zsh $(DESTDIR)$(ZSH_COMPLETIONS)/_pam-iampass-gateway
	install -m 644 $(BUILD)/completions-gateway/fish $(DESTDIR)$(FISH_COMPLETIONS)/pam-iampass-gateway.fish
	install -m 644 $(GATEWAY_UNITS)/pam-iampass-gateway.sysusers $(DESTDIR)$(UNITS)/sysusers.d/pam-iampass-gateway.conf
	install -m 644 $(GATEWAY_UNITS)/*.service $(GATEWAY_UNITS)/*.socket $(GATEWAY_UNITS)/*.timer \
	    $(DESTDIR)$(UNITS)/systemd/system/
	install -m 644 packaging/prometheus/pam-iampass.rules.yaml $(DESTDIR)$(GATEWAY_EXAMPLES)/

install-portal: completions-portal ## Install the portal of a fleet from source, beside `make install-gateway`, below DESTDIR if set
	@rm -rf $(BUILD)/man-portal
	$(PYTHON) -m tools.docs man --portal $(BUILD)/man-portal
	install -d $(DESTDIR)$(PACKAGES)/pam_iampass $(DESTDIR)$(BIN) $(DESTDIR)$(SYSCONF)/iampass-portal \
	    $(DESTDIR)$(UNITS)/systemd/system $(DESTDIR)$(MAN)/man1 $(DESTDIR)$(MAN)/man5 \
	    $(DESTDIR)$(BASH_COMPLETIONS) $(DESTDIR)$(ZSH_COMPLETIONS) $(DESTDIR)$(FISH_COMPLETIONS)
	cp -R pam_iampass/portal $(DESTDIR)$(PACKAGES)/pam_iampass/
	find $(DESTDIR)$(PACKAGES)/pam_iampass/portal -name __pycache__ -prune -exec rm -r {} +
	$(PYTHON) -I -m compileall -q -d $(PACKAGES)/pam_iampass/portal $(DESTDIR)$(PACKAGES)/pam_iampass/portal
	chmod -R u=rwX,go=rX $(DESTDIR)$(PACKAGES)/pam_iampass/portal
	sed 's|@PACKAGES@|$(PACKAGES)|; s|pam_iampass.cli|pam_iampass.portal.cli|' doors/pam-iampass.in \
	    > $(DESTDIR)$(BIN)/pam-iampass-portal
	chmod 755 $(DESTDIR)$(BIN)/pam-iampass-portal
	install -m 644 $(BUILD)/man-portal/*.1 $(DESTDIR)$(MAN)/man1/
	install -m 644 $(BUILD)/man-portal/*.5 $(DESTDIR)$(MAN)/man5/
	install -m 644 $(BUILD)/completions-portal/bash $(DESTDIR)$(BASH_COMPLETIONS)/pam-iampass-portal
	install -m 644 $(BUILD)/completions-portal/zsh $(DESTDIR)$(ZSH_COMPLETIONS)/_pam-iampass-portal
	install -m 644 $(BUILD)/completions-portal/fish $(DESTDIR)$(FISH_COMPLETIONS)/pam-iampass-portal.fish
	install -m 644 packaging/systemd/portal/* $(DESTDIR)$(UNITS)/systemd/system/

.PHONY: deb rpm test-system test-upgrade test-fleet test-vm release
# Testing (forky) has the hosts' packages only.
DEBIAN_RELEASES = bookworm forky trixie
deb: ## Build Debian packages of the committed tree for each release, into build/deb
	@tests/support/requirements.sh packages
	@packaging/deb.sh $(BUILD)/deb $(DEBIAN_RELEASES)

rpm: ## Build rpm packages of the committed tree into build/rpm, and test their installation
	@tests/support/requirements.sh packages
	@packaging/rpm.sh $(BUILD)/rpm

KEY =
REPOSITORY = $(BUILD)/repository
repository: ## Make a signed apt repository of build/deb in build/repository (KEY=FINGERPRINT: of the secret key of gpg that signs)
	@tests/support/requirements.sh repository
	@packaging/repository.sh '$(KEY)' $(BUILD)/deb $(REPOSITORY)

test-system: ## Test the Debian packages on a booted machine of each release
	@tests/support/requirements.sh packages
	@tests/packages/run.sh tests/packages $(BUILD)/deb $(DEBIAN_RELEASES)

test-upgrade: ## Upgrade booted machines to the next Debian release, as docs/one-server/release-upgrade.md says, while people log in
	@tests/support/requirements.sh fleet
	@tests/packages/run.sh tests/upgrade $(BUILD)/deb $(DEBIAN_RELEASES) $(if $(K),-- -k '$(K)')

test-fleet: ## Test two gateways, a PostgreSQL pair, a bastion and a host, each on a booted machine (K=EXPRESSION: some)
	@tests/support/requirements.sh fleet
	@tests/packages/run.sh tests/fleet $(BUILD)/deb trixie $(if $(K),-- -k '$(K)')

test-vm: ## Test the Debian packages on a virtual machine: SELinux, loss of power, a full disk (qemu, no KVM needed)
	@tests/support/requirements.sh vm
	@tests/vm/run.sh $(BUILD)/deb $(if $(T)$(K),$(or $(T),tests/vm) $(if $(K),-k '$(K)'))

release: ## Check that version, changelog and tag agree; build all packages, checksums and an SBOM into build/release
	@tests/support/requirements.sh packages
	@packaging/release.sh $(BUILD)/release $(DEBIAN_RELEASES)

account: ## After install: create the service user and give it access to the configuration
	systemd-sysusers $(UNITS)/sysusers.d/pam-iampass.conf
	systemd-tmpfiles --create $(UNITS)/tmpfiles.d/pam-iampass.conf
	chgrp -R _iampass $(SYSCONF)/iampass
	journalctl --update-catalog
