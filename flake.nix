# The ways in: nix develop, nix build, nix run, nix flake check, nix fmt.
{
  description = "Self-hosted QoE backend for the Media3Watch Android SDK";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      inherit (lib.importTOML ./pyproject.toml) project;

      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      forEachSystem = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});

      pythonOf = pkgs: pkgs.python313;

      runtimeDependencies =
        ps: with ps; [
          attrs
          cattrs
          click
          falcon
          httptools
          limits
          msgspec
          orjson
          pg8000
          platformdirs
          prometheus-client
          scramp
          uvicorn
          uvloop
        ];

      testDependencies =
        ps: with ps; [
          coverage
          hypothesis
          jsonschema
          openapi-spec-validator
          psutil
          pytest
          pytest-xdist
          pyyaml
          sqlglot
          testcontainers
        ];

      developmentTools =
        ps: with ps; [
          hatchling
          mypy
          tox
        ];

      # What the tests call: the embedded mode takes PostgreSQL from the PATH, as the wheel that brings it
      # elsewhere is not in nixpkgs.
      testPrograms = pkgs: [
        pkgs.curl
        pkgs.openssl
        pkgs.postgresql_16
        pkgs.prometheus
        (lib.getOutput "cli" pkgs.prometheus)
      ];
    in
    {
      packages = forEachSystem (pkgs: {
        default = (pythonOf pkgs).pkgs.buildPythonApplication {
          pname = project.name;
          inherit (project) version;
          pyproject = true;
          src = self;

          build-system = [ (pythonOf pkgs).pkgs.hatchling ];
          dependencies = runtimeDependencies (pythonOf pkgs).pkgs;

          # Without DATABASE_URL, `m3w serve` runs a PostgreSQL of its own.
          makeWrapperArgs = [ "--suffix PATH : ${lib.makeBinPath [ pkgs.postgresql_16 ]}" ];

          nativeCheckInputs = [
            (pythonOf pkgs).pkgs.pytestCheckHook
          ]
          ++ testDependencies (pythonOf pkgs).pkgs
          ++ testPrograms pkgs;
          preCheck = ''
            export HOME=$TMPDIR PATH=$out/bin:$PATH
          '';
          # A newer dependency may warn of what is fine here.
          pytestFlags = [ "-Wdefault" ];
          # They look for m3w beside the interpreter, or for Docker.
          disabledTestPaths = [ "tests/e2e" ];
          __darwinAllowLocalNetworking = true;
          pythonImportsCheck = [
            "m3w_core"
            "m3w_http"
          ];

          meta = {
            inherit (project) description;
            license = lib.licenses.asl20;
            mainProgram = "m3w";
            platforms = lib.platforms.unix;
          };
        };
      });

      apps = forEachSystem (
        pkgs:
        let
          m3w = lib.getExe self.packages.${pkgs.stdenv.hostPlatform.system}.default;
          serve = pkgs.writeShellScript "m3w-serve" ''exec ${m3w} serve "$@"'';
        in
        {
          default = {
            type = "app";
            program = "${serve}";
            meta.description = "Serve: m3w serve";
          };
          m3w = {
            type = "app";
            program = m3w;
            meta.description = "Every other command: m3w";
          };
        }
      );

      devShells = forEachSystem (
        pkgs:
        let
          python = pythonOf pkgs;
          # Imports come from the working tree, so that edits count at once.
          editable = python.pkgs.mkPythonEditablePackage {
            pname = project.name;
            inherit (project) version scripts;
            root = "$MEDIA3WATCH_ROOT/src";
            dependencies = runtimeDependencies python.pkgs;
          };
        in
        {
          default = pkgs.mkShell {
            packages = [
              (python.withPackages (ps: [ editable ] ++ testDependencies ps ++ developmentTools ps))
              pkgs.nixfmt-tree
              pkgs.ruff
            ]
            ++ testPrograms pkgs;
            shellHook = ''
              export MEDIA3WATCH_ROOT=''${MEDIA3WATCH_ROOT:-$PWD}
            '';
          };
        }
      );

      checks = forEachSystem (pkgs: {
        # Building it runs its tests.
        package = self.packages.${pkgs.stdenv.hostPlatform.system}.default;

        format =
          pkgs.runCommand "media3watch-nix-format"
            {
              nativeBuildInputs = [
                pkgs.git
                pkgs.nixfmt-tree
              ];
            }
            ''
              export HOME=$TMPDIR
              cp ${./flake.nix} flake.nix
              git init --quiet
              git add flake.nix
              treefmt --ci
              touch $out
            '';
      });

      formatter = forEachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
